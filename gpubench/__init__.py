"""gpubench: what does an inference cost, and how fast is it?"""
