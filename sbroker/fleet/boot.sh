#!/bin/sh
shutdown -h +@minutes@ "sbroker: the longest time that this machine may live is over" >/dev/null 2>&1
# Boot data of a machine that sbroker made. The line above is the first that runs: whatever else fails, the machine ends; its cloud is told that this means that
# it is gone. The watch below ends it earlier, when no broker has been heard for too long; it needs nothing but this shell.
watch() {
    seen=none began=
    while :; do
        read -r now _ </proc/uptime
        now=${now%.*}
        : "${began:=$now}"
        heard=$(stat -c %Y-%i @heard@ 2>/dev/null)
        [ "$heard" = "$seen" ] || seen=$heard last=$now
        [ $((now - last)) -lt @silence@ ] && [ $((now - began)) -lt @lifetime@ ] || off
        sleep @pause@
    done
}
off() {
    sync
    shutdown -h now || poweroff
    sleep 30
    kill -TERM 1 # where init is no init, but the one program of a container
    sleep 30
}
trap '' HUP
watch </dev/null >/dev/null 2>&1 &

umask 077
# cloud-init runs this once; after a restart of the machine, this copy
again=/var/lib/cloud/scripts/per-boot
[ ! -d "$again" ] || [ -e "$again/sbroker" ] || cp "$0" "$again/sbroker"

# the host key that the broker knows: the first login is verified
cat >/etc/ssh/ssh_host_ed25519_key.new <<'END'
@host_key@
END
echo @host_public@ >/etc/ssh/ssh_host_ed25519_key.pub
chmod 644 /etc/ssh/ssh_host_ed25519_key.pub
mv /etc/ssh/ssh_host_ed25519_key.new /etc/ssh/ssh_host_ed25519_key

# who may log in
user=@user@
id -u "$user" >/dev/null 2>&1 || useradd -m -s /bin/bash "$user"
home=$(getent passwd "$user" | cut -d: -f6)
mkdir -p "$home/.ssh"
cat "$home/.ssh/authorized_keys" - 2>/dev/null <<'END' | awk '!seen[$0]++' >"$home/.ssh/sbroker.new"
@authorized@
END
mv "$home/.ssh/sbroker.new" "$home/.ssh/authorized_keys"
chmod 700 "$home/.ssh"
chmod 600 "$home/.ssh/authorized_keys"
chown -R "$user:" "$home/.ssh"

# sshd reads its host key when it starts
if [ -d /run/systemd/system ]; then
    systemctl restart ssh 2>/dev/null || systemctl restart sshd
elif [ "$(cat /proc/1/comm)" = sshd ]; then
    kill -HUP 1
else
    service ssh restart 2>/dev/null || service sshd restart
fi
