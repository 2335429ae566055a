"""A module beside a script: `import beside` works where the script's own folder comes first on the path."""

NAME = __name__
