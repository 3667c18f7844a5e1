# The guardian of one server and its folder: sh -c "$(cat guardian.sh)" guardian DIR
# Each line on stdin is the pid of the server now running; an empty line means none.
# When stdin ends, however our parent ended, stop the server and remove the folder.
trap '' HUP INT TERM
dir=$1
pid=
while read -r line; do pid=$line; done

# A zombie that nobody reaps (a container without an init) counts as gone.
alive() {
    kill -0 "$pid" 2>/dev/null && ! grep -q '^State:[[:space:]]*Z' "/proc/$pid/status" 2>/dev/null
}

for signal in INT QUIT KILL; do
    if [ -z "$pid" ] || ! alive; then break; fi
    kill -s "$signal" "$pid" 2>/dev/null
    kill -s CONT "$pid" 2>/dev/null # a frozen one heeds nothing but KILL
    tries=0
    while alive && [ "$tries" -lt 50 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
done

# See SmallTablespace. Only root has any.
for mount in "$dir"/mount-*; do
    if [ -d "$mount" ]; then umount -l -- "$mount" 2>/dev/null; fi
done

# Grandchildren may still be writing for a moment.
tries=0
until rm -rf -- "$dir" 2>/dev/null && [ ! -e "$dir" ]; do
    tries=$((tries + 1))
    if [ "$tries" -ge 50 ]; then exit 1; fi
    sleep 0.1
done
