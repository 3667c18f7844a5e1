# The guardian of one server and its folder: sh -c "$(cat guardian.sh)" guardian DIR
# Each line on stdin is the pid of the running server; an empty line means that no server runs.
# Stdin ends when the parent process ends, for any reason. The guardian then stops the server and removes the folder.
trap '' HUP INT TERM
dir=$1
pid=
while read -r line; do pid=$line; done

# A zombie that no process reaps (in a container without an init) does not count as alive.
alive() {
    kill -0 "$pid" 2>/dev/null && ! grep -q '^State:[[:space:]]*Z' "/proc/$pid/status" 2>/dev/null
}

for signal in INT QUIT KILL; do
    if [ -z "$pid" ] || ! alive; then break; fi
    kill -s "$signal" "$pid" 2>/dev/null
    kill -s CONT "$pid" 2>/dev/null # a stopped process (SIGSTOP) handles no signal but KILL
    tries=0
    while alive && [ "$tries" -lt 50 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
done

# See SmallTablespace. Only root can have created these mounts.
for mount in "$dir"/mount-*; do
    if [ -d "$mount" ]; then umount -l -- "$mount" 2>/dev/null; fi
done

# Child processes of the server may still write for a moment, so removing the folder may need several attempts.
tries=0
until rm -rf -- "$dir" 2>/dev/null && [ ! -e "$dir" ]; do
    tries=$((tries + 1))
    if [ "$tries" -ge 50 ]; then exit 1; fi
    sleep 0.1
done
