"""What runs amount to, side by side: values, a table on the screen, a page with plots. JSON is the values, encoded."""
