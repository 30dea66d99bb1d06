#!/bin/busybox sh
# The first process of a virtual machine: runs the tests of /flowprobe/plan and says on the second serial port how they
# went, in lines that xtask/src/vm/report.rs reads. What the kernel says goes to the first.

/bin/busybox --install -s /busybox
export PATH=/usr/bin:/bin:/busybox
export HOME=/tmp LANG=C.UTF-8

# Not on /tmp: all of this is in memory anyway, and a checkout may lie there.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t debugfs debugfs /sys/kernel/debug
ip link set lo up
for module in /modules/*.ko; do
    insmod "$module" || echo "cannot load $module"
done

stty -F /dev/ttyS1 raw
exec >/dev/ttyS1
echo "vm: kernel $(uname -r)"
export FLOWPROBE_BIN=/flowprobe/flowprobe
export FLOWPROBE_SKIP_FILE=/run/skipped
export FLOWPROBE_TEST_PATIENCE=10
# The clock is this machine's own.
export FLOWPROBE_MAY_SET_CLOCK=1
export RUST_BACKTRACE=0
cd /tmp || exit
while read -r test arguments; do
    echo "vm: start $test"
    # The arguments are words of their own.
    # shellcheck disable=SC2086
    "/flowprobe/tests/$test" --test-threads=1 $arguments </dev/null
    echo "vm: end $test $?"
done </flowprobe/plan
if [ -e "$FLOWPROBE_SKIP_FILE" ]; then
    sed 's/^/vm: skipped /' "$FLOWPROBE_SKIP_FILE"
fi
echo "vm: done"
sync
poweroff -f
