"""What machines that are made on demand need besides their provider: the data they boot with."""
