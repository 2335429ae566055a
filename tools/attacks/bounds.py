from tools.attacks.kills import WRITERS as BOUNDS
