"""What engines say of themselves: reading metrics pages, and writing what they say into columns. No judgement."""
