#!/usr/bin/python3
"""A mailing list as `kind = "command"` knows one: a folder with a file of subscriptions, one `id email` a line.

Other files of the folder say how it behaves: `down` and `broken` (exit codes), `slow` (seconds), `silent`, `garbage`,
`kept` (a reason), `keeps` (an id that stays, for an open invoice), `comes` (a subscription made meanwhile), `hides` (what it keeps, it does not show any more), `broken-erase`, `pending` (how often), `child` (leaves a process behind), `everybody` (is found, whoever is asked for). `calls` is what it was asked to do."""
import fcntl, json, os, subprocess, sys, time

folder = sys.argv[1]


def path(name):
    return os.path.join(folder, name)


def says(name):
    try:
        with open(path(name)) as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def lines():
    return [line.split(" ", 1) for line in (says("list") or "").splitlines()]


question = json.load(sys.stdin)
with open(path("calls"), "a") as calls:
    calls.write(f"{question['do']} {question.get('place')} {len(question['people'])}\n")
with open(path("last"), "w") as last:
    json.dump(question, last)
if says("child"):
    child = subprocess.Popen(["/bin/sleep", "600"])
    with open(path("child"), "w") as file:
        file.write(str(child.pid))
if says("slow"):
    time.sleep(float(says("slow")))
if says("down") is not None:
    sys.exit(75)
if says("broken") is not None:
    print("taro@example.jp is not known here", file=sys.stderr)
    sys.exit(3)
broken_for = says("broken-for")
if broken_for and any(broken_for in values for p in question["people"] for values in p["identifiers"].values()):
    sys.exit(3)
if says("garbage") is not None:
    print(says("garbage"))
    sys.exit(0)
if says("endless") is not None:
    while True:
        print("x" * 65536)

answers = []
for person in question["people"]:
    emails = person["identifiers"].get("email", [])
    theirs = [id for id, email in lines() if email in emails or says("everybody") is not None]
    if question["do"] in ("find", "probe"):
        answers.append({"found": theirs})
        continue
    if says("kept") is not None:
        answers.append({"result": "kept", "reason": says("kept")})
        continue
    if says("broken-erase") is not None:
        sys.exit(3)
    if int(says("pending") or 0):
        with open(path("pending"), "w") as file:
            file.write("0")
        answers.append({"result": "pending"})
        continue
    with open(path("lock"), "w") as alone:
        # What a daemon that died had started may still be at it.
        fcntl.flock(alone, fcntl.LOCK_EX)
        left = [(id, email) for id, email in lines() if id not in person["found"] or id == says("keeps")]
        if says("comes"):
            left.append(says("comes").split(" ", 1))
            os.remove(path("comes"))
        with open(path("new"), "w") as file:
            file.writelines(f"{id} {email}\n" for id, email in left)
        os.replace(path("new"), path("list"))
    if says("hides") is not None:
        answers.append({"result": "kept", "reason": "open-invoice"})
        continue
    stays = says("keeps") in person["found"]
    answers.append({"result": "kept", "reason": "open-invoice"} if stays else {"result": "gone"})
print(json.dumps({"people": answers}))
