import sys

print("main of the package", __package__, sys.argv[1:])
raise SystemExit(4)
