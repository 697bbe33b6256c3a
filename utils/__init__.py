import os

# A notebook's, which its shell passes on: matplotlib cannot be imported where it is not installed,
# and no plot here needs a screen.
os.environ.pop("MPLBACKEND", None)
