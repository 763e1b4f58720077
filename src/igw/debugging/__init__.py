"""What a process tells of itself to those who look for a fault, and who may ask its metrics port. What it does is the other rooms' business."""
