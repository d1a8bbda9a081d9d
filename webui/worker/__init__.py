"""The process that takes jobs from the queue and runs each as a process of its own, at low priority."""
