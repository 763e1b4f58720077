"""What each engine calls its metrics: one file per engine, and the table of them. Reading by them is `igw.scraping.mapping`."""
