"""The Kubernetes API: its objects, how it is reached and followed. What its objects mean for requests is `igw.discovery`'s business."""
