import sys

ARGV_WHILE_FOUND = sys.argv[0]
