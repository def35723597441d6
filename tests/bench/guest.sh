# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-only
#
# What the guest of bench.py measures with: disks in memory, the devices that are compared, loads,
# links, and waiting.  A line "=== CASE KEY VALUE" is a figure; after "=== CASE fio" follows what
# fio printed.
set -e

disk_mib=288		# of each disk in memory
set_mib=256		# of them the loads use so much, so that a difference volume has room for all
sectors=$((disk_mib * 2048))
p_data=/dev/ram1
s_data=/dev/ram4
pair=6f0c2b5e-8a52-4f9e-9a1b-0d6b3c1f2e11
drbd=/lib/drbd/drbdsetup-84

# Shown while the guest runs.
progress() {
	echo "progress: $*" >/dev/kmsg
}

figure() {
	echo "=== $1 $2 $3"
	progress "  $*"
}

# Nanoseconds of the guest's clock.
now() {
	date +%s%N
}

# ram0 to ram7, empty.
disks() {
	modprobe -r brd
	modprobe brd rd_nr=8 rd_size=$((disk_mib * 1024))
}

# Not zeroes, which have a short way of their own.
fill() {
	fio --name=fill --filename="$1" --size="${2:-$set_mib}M" --rw=write --bs=1M --direct=1 --ioengine=psync \
		--refill_buffers=1 --randrepeat=1 --output=/dev/null
	blockdev --flushbufs "$1"
}

# load CASE DEVICE WORD...: fio at depth 16, and what it says
load() {
	load_case=$1
	load_device=$2
	shift 2
	echo "=== $load_case fio"
	fio --output=/tmp/fio --name=load --filename="$load_device" --size="${set_mib}M" --direct=1 --ioengine=libaio --iodepth=16 \
		--randrepeat=1 --output-format=json "$@"
	cat /tmp/fio
	progress "  $load_case iops $(sed -n 's/.*"iops" : \([0-9]*\).*/\1/p' /tmp/fio | sort -n | tail -n 1)"
}

random_writes() {
	load "$1" "$2" --rw=randwrite --bs=4k --number_ios="$ios"
}

random_reads() {
	load "$1" "$2" --rw=randread --bs=4k --number_ios="$ios"
}

quick_loads() {
	random_writes "$1-randwrite" "$2"
	random_reads "$1-randread" "$2"
}

# ---- links: emulated on the loopback device, each direction by itself ----

# The ports of those who accept: freezecopy, iperf3, DRBD.
accepting="7744 5201 7789 7790"

# What they say goes one way, what is said to them the other: no acknowledgement waits behind data.
both_ways() {
	tc qdisc add dev lo root handle 1: prio bands 2 priomap 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
	for port in $accepting; do
		tc filter add dev lo parent 1: protocol ip u32 match ip sport "$port" 0xffff flowid 1:1
	done
	for way in 1:1 1:2; do
		tc qdisc add dev lo parent $way netem limit 100000 "$@"
	done
}

link() {
	tc qdisc del dev lo root 2>/dev/null || :
	case $1 in
	none) ;;
	20mbit) both_ways rate 20mbit delay 25ms ;;
	100mbit) both_ways rate 100mbit delay 100ms ;;
	1gbit) both_ways rate 1gbit delay 1ms ;;
	lossy) both_ways rate 100mbit delay 25ms loss 1% ;;
	packets)	# each is lost by itself, where "lossy" loses 64 KiB at a time
		ip link set lo mtu 1500 gso_max_segs 1
		both_ways rate 100mbit delay 25ms loss 1%
		;;
	dead) tc qdisc add dev lo root netem loss 100% ;;
	*) echo "link $1: unknown"; exit 1 ;;
	esac
}

tcp_server() {
	iperf3 -s -p 5201 >/dev/null 2>&1 &	# not -1: an attempt that fails would be its one
	server=$!
}

# tcp CASE BYTES WORD...: bytes a second of a bare TCP stream over it
tcp() {
	tcp_case=$1 tcp_bytes=$2
	shift 2
	tcp_server
	rate=
	until [ "$rate" ]; do
		iperf3 -c 127.0.0.1 -p 5201 -n "$tcp_bytes" -J "$@" >/tmp/iperf 2>&1 || sleep 0.1
		rate=$(sed -n '/"sum_received"/,/}/s/.*"bits_per_second":[ \t]*\([0-9.]*\).*/\1/p' /tmp/iperf | tail -n 1)
	done
	kill $server
	wait $server || :
	figure "$tcp_case" tcp_bytes_per_s "$(echo "$rate" | awk '{ printf "%.0f", $1 / 8 }')"
}

# A bare TCP stream that lasts, until stream_end.
stream() {
	tcp_server
	(until iperf3 -c 127.0.0.1 -p 5201 -t 3600 >/dev/null 2>&1; do sleep 0.1; done) &
	client=$!
	until ss -Htn state established 'dport = :5201' | grep -q .; do sleep 0.1; done
}

stream_end() {
	kill $client
	killall iperf3
	wait $client $server || :
}

# slow NAME DEVICE READ WRITE: NAME is DEVICE, a read takes so many milliseconds, a write or a flush so many
slow() {
	slow_table="0 $(blockdev --getsz "$2") delay $2 0 $3 $2 0 $4"
	if [ -e "/dev/mapper/$1" ]; then
		dmsetup reload "$1" --table "$slow_table"
		dmsetup resume "$1"
	else
		dmsetup create "$1" --table "$slow_table"
	fi
}

# ---- freezecopy ----

auth='auth none'
p_diff=/dev/ram2
s_meta=/dev/ram3
s_stages='/dev/ram5 /dev/ram6'

secondary() {
	dmsetup create s --uuid FREEZECOPY-s --table "0 $sectors freezecopy secondary $s_meta $s_data $s_stages \
		4 listen 127.0.0.1:7744 $auth"
}

# What is on both sides is the same; with "copy", "lz4" or "zstd" the secondary gets a first copy.
# After "copy" more words of the table.
primary() {
	case $1 in
	copy)
		shift
		words="$((6 + $#)) $*"
		;;
	lz4 | zstd) words="8 compress $1" ;;
	*) words='8 assume identical' ;;
	esac
	dmsetup create p --uuid FREEZECOPY-p --table "0 $sectors freezecopy primary /dev/ram0 $p_data $p_diff \
		$words peer 127.0.0.1:7744 $auth pair $pair"
}

state() {
	dmsetup status "$1" | cut -d' ' -f 4-
}

# field VOLUME NAME
field() {
	state "$1" | tr ' ' '\n' | sed -n "s/^$2=//p"
}

# A pair with an image, in sync, nothing to merge, the set written.
fz_pair() {
	disks
	fz_begin
}

fz_begin() {
	secondary
	primary
	fz_in_sync
	fz_image
	fill /dev/mapper/p
	fz_in_sync
	fz_image
}

fz_in_sync() {
	freezectl wait p in-sync >/dev/null
}

fz_image() {
	freezectl freeze p --wait merged >/dev/null
	freezectl wait s merged >/dev/null
}

fz_end() {
	link none
	dmsetup remove --retry p
	[ ! -e /dev/mapper/s ] || dmsetup remove s
}

# ---- DRBD 8.4: both ends in this kernel ----

drbd_end_of() {
	drbdmeta "$1" v08 "/dev/ram$2" internal create-md --force >/dev/null 2>&1
	$drbd new-resource "r$1"
	$drbd new-minor "r$1" "$1" 0
	$drbd attach "$1" "/dev/ram$2" "/dev/ram$2" internal
}

drbd_alone() {
	disks
	modprobe drbd
	drbd_end_of 0 1
	$drbd primary 0 --force
	fill /dev/drbd0
}

# drbd_is EXPRESSION...: wait until minor 0's two lines in /proc/drbd have each
drbd_is() {
	end=$(($(now) + 600000000000))
	for want; do
		until sed -n '/^ 0:/,/oos:/p' /proc/drbd | grep -q "$want"; do
			[ "$(now)" -lt $end ] || { cat /proc/drbd; echo "never: $want"; exit 1; }
			sleep 0.002
		done
	done
}

drbd_in_sync() {
	drbd_is 'cs:Connected' 'pe:0 ua:0 ap:0 .*oos:0'
}

drbd_pair() {
	disks
	modprobe drbd
	drbd_end_of 0 1
	drbd_end_of 1 4
	$drbd connect r0 ipv4:127.0.0.1:7789 ipv4:127.0.0.1:7790 --protocol=A
	$drbd connect r1 ipv4:127.0.0.1:7790 ipv4:127.0.0.1:7789 --protocol=A
	drbd_is ' 0: cs:Connected'
	$drbd new-current-uuid 0 --clear-bitmap
	$drbd primary 0
	fill /dev/drbd0
	drbd_in_sync
}

drbd_end() {
	link none
	$drbd down r0
	[ ! -e /dev/drbd1 ] || $drbd down r1
	modprobe -r drbd
}

# ---- what is measured ----

# The raw disk, and what the kernel has to put above one.
measure_local() {
	disks
	fill /dev/ram0
	quick_loads raw /dev/ram0
	dmsetup create l --table "0 $sectors linear /dev/ram0 0"
	quick_loads linear /dev/mapper/l
	dmsetup remove l
	dmsetup create c --table "0 $sectors snapshot /dev/ram0 /dev/ram1 P 8"
	dmsetup create o --table "0 $sectors snapshot-origin /dev/ram0"
	random_writes snapshot-cow /dev/mapper/o
	random_reads snapshot-randread /dev/mapper/o
	random_writes snapshot-randwrite /dev/mapper/o
	dmsetup remove o
	dmsetup remove c
}

measure_drbd_alone() {
	drbd_alone
	quick_loads drbd-alone /dev/drbd0
	drbd_end
}

# The peer is gone: over the whole set, which has changed since the last image.
measure_alone() {
	fz_pair
	dmsetup remove s
	fill /dev/mapper/p
	quick_loads alone /dev/mapper/p
	fz_end
}

# Nothing has changed since the last image and no region is open: each write needs its region's flag.
measure_cold() {
	fz_pair
	link dead
	random_writes cold-randwrite /dev/mapper/p
	fz_end
}

# All blocks frozen and none of them delivered.
measure_frozen() {
	fz_pair
	link dead
	fill /dev/mapper/p
	freezectl freeze p --force --wait cut >/dev/null
	random_writes frozen-first /dev/mapper/p
	random_writes frozen-randwrite /dev/mapper/p
	random_reads frozen-randread /dev/mapper/p
	figure frozen diverted "$(field p diverted)"
	fz_end
}

# Bytes of blocks that DEVICE has given to its connection since it is there.
sent() {
	case $1 in
	/dev/drbd0) echo $(($(sed -n '/^ 0:/,/oos:/s/.*ns:\([0-9]*\) .*/\1/p' /proc/drbd) * 1024)) ;;
	*) echo $(($(field p tx_blocks) * 4096)) ;;
	esac
}

# sustained CASE DEVICE WAIT WORD...: a load for a time, and until the other side has it all
sustained() {
	name=$1 device=$2 wait=$3
	shift 3
	before=$(sent "$device")
	begin=$(now)
	load "$name" "$device" --time_based --runtime="$seconds" "$@"
	loaded=$(sent "$device")
	$wait
	figure "$name" total_ns $(($(now) - begin))
	figure "$name" load_sent $((loaded - before))
	figure "$name" synced_sent $(($(sent "$device") - before))
}

# The loads of a connected pair: sustained loads, prefix, device, what to wait with
connected_loads() {
	sustained "$1-randwrite" "$2" "$3" --rw=randwrite --bs=4k --norandommap
	sustained "$1-write64k" "$2" "$3" --rw=write --bs=64k
	sustained "$1-write1m" "$2" "$3" --rw=write --bs=1M
}

measure_drbd_connected() {
	drbd_pair
	connected_loads drbd /dev/drbd0 drbd_in_sync
	drbd_end
}

measure_connected() {
	fz_pair
	connected_loads connected /dev/mapper/p fz_in_sync
	fz_end
}

zipf_words='--rw=randwrite --bs=4k --random_distribution=zipf:1.1 --norandommap'

# zipf CASE DEVICE WAIT
# shellcheck disable=SC2086
zipf() {
	sustained "$@" $zipf_words
}

measure_drbd_slow() {
	drbd_pair
	link 20mbit
	zipf drbd-slow /dev/drbd0 drbd_in_sync
	drbd_end
}

# Blocks that changed while nobody was there, each of which is sent once: what they take on the wire.
# shellcheck disable=SC2086
sweep() {
	dmsetup suspend --nolockfs s
	load slow-sweep /dev/mapper/p $zipf_words --number_ios="$ios"
	figure slow-sweep changed_bytes $(($(field p changed) * 4096))
	tx=$(field p tx)
	link 20mbit
	dmsetup resume s
	freezectl wait p connected >/dev/null
	fz_in_sync
	figure slow-sweep wire_bytes $(($(field p tx) - tx))
	link none
}

# One load over a slow link, over none, and without a peer; each begins after an image.
measure_slow() {
	fz_pair
	zipf slow-nolink /dev/mapper/p fz_in_sync
	fz_image
	link 20mbit
	tx=$(field p tx)
	zipf slow /dev/mapper/p fz_in_sync
	figure slow wire_bytes $(($(field p tx) - tx))
	link none
	fz_image
	sweep
	fz_image
	dmsetup remove s
	zipf slow-alone /dev/mapper/p :
	link 20mbit
	stream
	zipf slow-stream /dev/mapper/p :
	stream_end
	fz_end
}

# Bytes that the other side lacks.  Time is counted from before this is asked.
lacking() {
	echo $((($(field p unsent) + $(field p inflight)) * 4096))
}

# moved CASE BEGIN BYTES [KEY END]: until now, or END
moved() {
	figure "$1" "${4:-bytes_per_s}" $(($3 * 1000 / ((${5:-$(now)} - $2) / 1000000)))
}

# Hundredths of a second in which the processor had nothing to do.
idle() {
	awk '{ print int($2 * 100 + 0.5) }' /proc/uptime
}

# caught_up CASE: what the other side lacks as it connects, and what it has staged meanwhile
caught_up() {
	freezectl wait p connected >/dev/null
	begin=$(now) idle=$(idle)
	left=$(lacking)
	staging=$(now) staged=$(field s staged)
	fz_in_sync
	end=$(now) idle=$(($(idle) - idle))
	moved "$1" "$begin" "$left" bytes_per_s "$end"
	moved "$1" "$staging" $((($(field s staged) - staged) * 4096)) staged_per_s "$end"
	figure "$1" idle_percent $((idle * 1000000000 / (end - begin)))
}

# Volumes of the size of what is copied, all of it filled: a first copy reads all that there is.
copied_disks() {
	disks
	sectors=$((copy_mib * 2048))
	p_data=/dev/mapper/p-data
	s_data=/dev/mapper/s-data
	dmsetup create p-data --table "0 $sectors linear /dev/ram1 0"
	dmsetup create s-data --table "0 $sectors linear /dev/ram4 0"
}

copied_end() {
	fz_end
	dmsetup remove p-data
	dmsetup remove s-data
	sectors=$((disk_mib * 2048))
	p_data=/dev/ram1
	s_data=/dev/ram4
}

# Every other block is written.
scatter() {
	fio --name=scatter --filename=/dev/mapper/p --size="${copy_mib}M" --io_size=$((copy_mib / 2))M --rw=write:4k --bs=4k \
		--direct=1 --ioengine=psync --refill_buffers=1 --randrepeat=1 --output=/dev/null
}

# The first copy; what changed while there was no session; what a freeze still has to deliver.
copy_over() {
	link "$1"
	tcp "tcp-$1" "${copy_mib}M"
	link none
	copied_disks
	fill $p_data "$copy_mib"
	secondary
	link "$1"
	primary copy
	caught_up "first-copy-$1"
	fz_image

	dmsetup suspend --nolockfs s
	fill /dev/mapper/p "$copy_mib"
	dmsetup resume s
	caught_up "catch-up-$1"

	fill /dev/mapper/p "$copy_mib"
	freezectl freeze p --wait cut >/dev/null
	begin=$(now)	# what is delivered until @left is read is not counted, its time is
	left=$(field p freeze_left)
	freezectl wait p "image=$(field p freeze)" >/dev/null
	moved "drain-$1" "$begin" $((left * 4096))

	dmsetup suspend --nolockfs s
	scatter
	dmsetup resume s
	caught_up "scattered-$1"
	copied_end
}

measure_copy() {
	for name in 1gbit 20mbit 100mbit; do
		copy_over $name
	done
	for round in $(seq 15); do	# what is lost differs from time to time
		copy_over lossy
		progress "  round $round"
	done
}

# Where packets are lost one by one: several streams, or one that does not take each loss for congestion.
measure_loss() {
	modprobe tcp_bbr
	link packets
	tcp loss-tcp-cubic "${copy_mib}M"
	tcp loss-tcp-cubic-4 "$((copy_mib / 4))M" -P 4
	tcp loss-tcp-bbr "${copy_mib}M" -C bbr
	for name in cubic bbr; do
		link none
		copied_disks
		fill $p_data "$copy_mib"
		secondary
		link packets
		primary copy congestion $name
		caught_up "loss-copy-$name"
		copied_end
	done
	ip link set lo mtu 65536 gso_max_segs 65535
}

# A first copy of what could be half as much, with the processor as the limit.
measure_compress() {
	for how in copy lz4 zstd; do
		copied_disks
		fio --name=fill --filename=$p_data --size="${copy_mib}M" --rw=write --bs=1M --direct=1 --ioengine=psync \
			--refill_buffers=1 --randrepeat=1 --buffer_compress_percentage=50 --output=/dev/null
		blockdev --flushbufs $p_data
		secondary
		primary "$how"
		caught_up "compress-$how"
		figure "compress-$how" tx "$(field p tx)"
		figure "compress-$how" mem_io "$(field p mem_io)"
		copied_end
	done
}

# What the processor has for ciphers: instructions for AES, for vectors, or none.  The kernel would load
# what is fastest by itself.
ciphers() {
	fast='aesni_intel chacha_x86_64 poly1305_x86_64'
	mkdir -p /etc/modprobe.d
	# shellcheck disable=SC2086
	printf 'blacklist %s\n' $fast >/etc/modprobe.d/ciphers.conf
	# shellcheck disable=SC2086
	modprobe -r $fast
	case $1 in
	aes-gcm) modprobe aesni_intel ;;
	chacha20-poly1305) modprobe -a chacha_x86_64 poly1305_x86_64 ;;
	esac
}

# The kernel's cipher CASE is what it has to be.
check_cipher() {
	case $1 in
	clear) ;;
	aes-gcm) [ "$(field p cipher)" = aes-gcm ] ;;
	chacha20-poly1305) grep -q 'rfc7539(chacha20-simd,poly1305-simd)' /proc/crypto ;;
	plain-c) grep -q 'rfc7539(chacha20-generic,poly1305-generic)' /proc/crypto ;;
	esac
}

# seal CASE CIPHER MODE BITS: instructions that sealing 8 KiB takes, as the kernel measures a cipher
seal() {
	dmesg -C
	modprobe -q tcrypt mode="$3" || :	# it never stays
	figure "$1" instructions "$(dmesg | awk -v "cipher=speed of $2 " -v "row=($4 bit key, 8192 byte blocks)" '
		/speed of/ { on = index($0, cipher) && /encryption/ }
		/bit key/ { this = on && index($0, row) }
		this && match($0, /in [0-9]+ cycles/) { print substr($0, RSTART + 3, RLENGTH - 10); exit }')"
}

# A first copy with the processor as the limit: in the clear, and by what the processor has for ciphers.
measure_crypto() {
	ciphers plain-c
	seal seal-aes-c 'gcm(aes)' 211 256
	seal seal-chacha-c 'rfc7539esp(chacha20,poly1305)' 213 288
	freezectl key generate bench >/dev/null 2>&1
	for how in clear aes-gcm chacha20-poly1305 plain-c; do
		copied_disks
		fill $p_data "$copy_mib"
		[ "$how" = clear ] || auth='key :32:logon:freezecopy:bench'
		ciphers $how
		secondary
		primary copy
		caught_up "crypto-$how"
		check_cipher $how
		copied_end
	done
	auth='auth none'
}

# Over 25 ms each way: an image of what has all arrived, from before freezectl runs until it has ended; and one that has
# something to deliver, from the last look at which not all was sent: medians, since between two looks some ms pass.
# Loop devices have flushes, which disks in memory have not.
measure_commit() {
	modprobe loop
	for ms in 0 20; do	# of a write and of a flush; ticks of the guest's timer are 4 ms
		disks
		for disk in s-m s-a s-b; do
			truncate -s "${disk_mib}M" /tmp/$disk
			slow $disk "$(losetup -f --show /tmp/$disk)" 0 $ms
		done
		s_meta=/dev/mapper/s-m s_stages='/dev/mapper/s-a /dev/mapper/s-b'
		secondary
		primary
		fz_in_sync
		fz_image
		link 20mbit
		for round in 1 2 3 4 5; do
			load commit-load /dev/mapper/p --rw=randwrite --bs=4k --number_ios=100
			fz_in_sync
			begin=$(now)
			freezectl freeze p --wait committed >/dev/null
			figure "freeze-$ms" ns $(($(now) - begin))
			freezectl wait s merged >/dev/null
			load commit-load /dev/mapper/p --rw=randwrite --bs=4k --number_ios=300
			freezectl freeze p --wait cut >/dev/null
			next="image=$(field p freeze)"
			while look=$(now) && case $(dmsetup status p) in *phase=delivering*) ;; *) false ;; esac; do begin=$look; done
			freezectl wait p "$next" >/dev/null
			figure "commit-$ms" ns $(($(now) - begin))
			freezectl wait p merged >/dev/null
			freezectl wait s merged >/dev/null
			progress "  round $round"
		done
		fz_end
		for disk in s-m s-a s-b; do
			dmsetup remove $disk
			losetup -d "$(losetup -n -O NAME -j /tmp/$disk)"
			rm /tmp/$disk
		done
	done
	s_meta=/dev/ram3 s_stages='/dev/ram5 /dev/ram6'
}

# until_merged COMMAND...: it, and until all is merged.  What is merged until @left is read is not counted, its time is.
until_merged() {
	begin=$(now)
	left=$(field s merge_left)
	"$@"
	freezectl wait s merged >/dev/null
}

# What a stage holds goes to the volume; beside it, the same bytes from disk to disk, onto pages that are there,
# with the same commands at both ends.
measure_merge() {
	fz_pair
	fill /dev/mapper/p
	fz_in_sync
	begin=$(now)
	freezectl freeze p --wait committed >/dev/null
	figure merge commit_ns $(($(now) - begin))
	until_merged :
	moved merge "$begin" $((left * 4096))
	figure merge blocks "$left"
	for round in 1 2; do
		progress "  copy $round"
		until_merged dd if=/dev/ram5 of=/dev/ram7 bs=1M count="$set_mib" iflag=direct oflag=direct status=none
	done
	moved merge-dd "$begin" $((set_mib * 1048576))
	fz_end
}

# thin NAME SECTORS: of the pool
thin() {
	dmsetup message pool 0 "create_thin $thin_id"
	dmsetup create "$1" --table "0 $2 thin /dev/mapper/pool $thin_id"
	thin_id=$((thin_id + 1))
}

# The states that have no part of their own; what is left of a copy or a merge at the end shows that it ran all the time.
measure_states() {
	disks
	slow d /dev/ram7 0 0
	fill /dev/ram7
	for way in ram7 mapper/d; do
		dmsetup create l --table "0 $sectors linear /dev/$way 0"
		quick_loads "states-linear-${way#*/}" /dev/mapper/l
		dmsetup remove l
	done
	dmsetup remove d

	fill $p_data
	secondary
	link 1gbit
	primary copy
	freezectl wait p connected >/dev/null
	random_writes states-copy-write /dev/mapper/p
	figure states-copy-write left "$(field p copy_left)"
	fz_end

	fz_pair
	random_reads states-connected-read /dev/mapper/p
	random_reads states-secondary-read /dev/mapper/s
	dmsetup remove --retry p
	freezectl recover s >/dev/null
	random_writes states-recovered-write /dev/mapper/s
	dmsetup remove s

	# What a merge does and the load beside it does not takes 4 ms, or it would be over before fio has started.
	disks
	p_data=/dev/mapper/p-data p_diff=/dev/mapper/p-diff s_data=/dev/mapper/s-data
	slow p-data /dev/ram1 0 0
	slow p-diff /dev/ram2 4 0
	slow s-data /dev/ram4 0 4
	fz_begin
	fill /dev/mapper/p
	fz_in_sync
	freezectl freeze p --wait committed >/dev/null
	random_reads states-stage-read /dev/mapper/s
	figure states-stage-read left "$(field s merge_left)"
	freezectl wait s merged >/dev/null

	slow s-data /dev/ram4 0 0
	link dead
	fill /dev/mapper/p
	freezectl freeze p --force --wait cut >/dev/null
	fill /dev/mapper/p
	link none
	freezectl wait p "image=$(field p freeze)" >/dev/null
	random_writes states-merge-write /dev/mapper/p
	figure states-merge-write left "$(field p diverted)"
	slow p-diff /dev/ram2 0 0
	slow p-data /dev/ram1 0 4
	random_reads states-merge-read /dev/mapper/p
	figure states-merge-read left "$(field p diverted)"
	fz_end
	for disk in p-data p-diff s-data; do
		dmsetup remove $disk
	done
	p_data=/dev/ram1 p_diff=/dev/ram2 s_data=/dev/ram4
}

# Bytes that were read from DEVICE.
was_read() {
	awk '{ print $3 * 512 }' "/sys/block/$(basename "$(readlink -f "$1")")/stat"
}

# A start reads the index of the difference volume: of 64 GiB, thin, behind 2 ms for each read, with all of the
# set diverted.  Beside it, the same bytes by themselves.
measure_restart() {
	disks
	dmsetup create pool --table "0 $sectors thin-pool /dev/ram7 /dev/ram2 128 0 1 skip_block_zeroing"
	thin_id=0
	thin p-thin $((64 << 21))
	p_diff=/dev/mapper/p-diff
	slow p-diff /dev/mapper/p-thin 2 0
	fz_begin
	link dead
	fill /dev/mapper/p
	freezectl freeze p --force --wait cut >/dev/null
	fill /dev/mapper/p
	figure restart diverted "$(field p diverted)"
	dmsetup remove --retry p
	dd if=/dev/zero of=/dev/null bs=4k count=1 2>/dev/null	# now it is in memory
	before=$(was_read $p_diff)
	begin=$(now)
	primary
	dd if=/dev/mapper/p of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null
	took=$(($(now) - begin))
	figure restart usable_diverted "$(field p diverted)"
	index=$(($(was_read $p_diff) - before))
	figure restart usable_ns $took
	figure restart index_bytes $index
	figure restart bytes_per_s $((index * 1000 / (took / 1000000)))
	begin=$(now)
	dd if=$p_diff of=/dev/null bs=1M skip=8192 count=$index iflag=direct,skip_bytes,count_bytes 2>/dev/null
	moved restart-dd "$begin" $index
	fz_end
	for disk in p-diff p-thin pool; do
		dmsetup remove $disk
	done
	p_diff=/dev/ram2
}

# A pair of volumes of @1 sectors and blocks of @2 bytes on thin devices, meta behind a delay of 5 ms.
measure_size() {
	name=$1 size=$2 block=$3 meta=$4
	disks
	dmsetup create pool --table "0 $sectors thin-pool /dev/ram6 /dev/ram7 128 0 1 skip_block_zeroing"
	thin_id=0
	for disk in p-data p-diff s-data s-a s-b; do
		thin $disk "$size"
	done
	for disk in p-m s-m; do
		thin $disk "$meta"
		dmsetup create $disk-slow --table "0 $meta delay /dev/mapper/$disk 0 5"
	done
	modprobe dm-freezecopy	# what is read for the guest does not count
	begin=$(now)
	dmsetup create s --uuid FREEZECOPY-s --table "0 $size freezecopy secondary /dev/mapper/s-m-slow /dev/mapper/s-data \
		/dev/mapper/s-a /dev/mapper/s-b 6 listen 127.0.0.1:7744 auth none block $block"
	dmsetup create p --uuid FREEZECOPY-p --table "0 $size freezecopy primary /dev/mapper/p-m-slow /dev/mapper/p-data \
		/dev/mapper/p-diff 10 peer 127.0.0.1:7744 auth none pair $pair assume identical block $block"
	fz_in_sync
	figure "$name" create_ns $(($(now) - begin))
	for round in 1 2; do
		load "$name-load$round" /dev/mapper/p --rw=randwrite --bs=64k --number_ios=200
		stall=$(freezectl freeze p --wait cut 2>&1 | sed -n 's/.*stood still for \([0-9.]*\) ms.*/\1/p')
		figure "$name" "stall${round}_ms" "$stall"
		freezectl wait p merged >/dev/null
		freezectl wait s merged >/dev/null
	done
	figure "$name" mem_maps "$(field p mem_maps)"
	figure "$name" blocks "$(field p blocks)"
	figure "$name" block "$block"
	fz_end
	for disk in p-m s-m; do
		dmsetup remove $disk-slow
		dmsetup remove $disk
	done
	for disk in p-data p-diff s-data s-a s-b pool; do
		dmsetup remove $disk
	done
}

measure_1tib() {
	measure_size 1tib $((1 << 31)) 4096 $((1 << 20))
}

measure_16tib() {
	measure_size 16tib $((1 << 35)) 65536 $((1 << 20))
}

# One job and two on dm-linear and on a primary without a peer, round by round: what else the machine
# does that emulates this one falls on all of them.
measure_cpus() {
	fz_pair
	dmsetup remove s
	fill /dev/mapper/p
	fill /dev/ram7
	dmsetup create l --table "0 $sectors linear /dev/ram7 0"
	for round in 1 2 3 4 5 6 7; do
		for device in l p; do
			for jobs in 1 2; do
				load "cpus-$device-$jobs" "/dev/mapper/$device" --rw=randwrite --bs=4k --norandommap --time_based \
					--runtime=2 --numjobs="$jobs" --group_reporting
			done
		done
		progress "  round $round"
	done
	dmsetup remove l
	fz_end
}

# profiled CASE WORD...: a command under perf, whose clock is the guest's, an instruction a nanosecond
profiled() {
	profile_case=$1
	shift
	perf record -q -a -e cpu-clock -c 5000 -o /tmp/perf.data "$@" >/dev/null
	echo "=== $profile_case perf"
	perf report -i /tmp/perf.data --stdio --sort symbol -n -w 6,12,60 2>/dev/null | grep -E '^ *[0-9.]+%' || :
	echo "=== $profile_case threads"
	perf report -i /tmp/perf.data --stdio --sort comm 2>/dev/null | grep -E '^ *[0-9.]+%' || :
}

# profile CASE DEVICE WORD...: a load
profile() {
	profile_case=$1 profile_device=$2
	shift 2
	profiled "$profile_case" fio --name=load --filename="$profile_device" --size="${set_mib}M" --direct=1 \
		--ioengine=libaio --iodepth=16 --randrepeat=1 --output=/dev/null "$@"
}

# Who takes the processor while both ends work behind a slow link.
# shellcheck disable=SC2086
measure_slow_profiles() {
	fz_pair
	link 20mbit
	profile slow-write /dev/mapper/p $zipf_words --number_ios=$((ios * 4))
	fz_end
}

# Both ends of a connected pair that is written in 64 KiB, until all has arrived.
measure_connected_profiles() {
	fz_pair
	profiled connected-write64k sh -c "fio --name=load --filename=/dev/mapper/p --size=${set_mib}M --direct=1 \
		--ioengine=libaio --iodepth=16 --rw=write --bs=64k --time_based --runtime=1 --output=/dev/null &&
		freezectl wait p in-sync"
	fz_end
}

# A catch-up of every other block over 1 Gbit/s.
measure_scattered_profiles() {
	copy_mib=$set_mib	# more than the start of perf takes
	copied_disks
	fill $p_data "$copy_mib"
	secondary
	primary
	fz_in_sync
	fz_image
	dmsetup suspend --nolockfs s
	scatter
	link 1gbit
	profiled scattered sh -c 'dmsetup resume s && freezectl wait p connected && freezectl wait p in-sync'
	copied_end
}

measure_merge_profiles() {
	fz_pair
	fill /dev/mapper/p
	fz_in_sync
	profiled merge sh -c 'freezectl freeze p --wait merged && freezectl wait s merged'
	fz_end
	profiled merge-dd dd if=/dev/ram5 of=/dev/ram4 bs=1M count="$set_mib" iflag=direct oflag=direct
}

measure_profiles() {
	disks
	fill /dev/ram0
	dmsetup create l --table "0 $sectors linear /dev/ram0 0"
	profile linear-write /dev/mapper/l --rw=randwrite --bs=4k --number_ios="$ios"
	dmsetup remove l
	fz_pair
	dmsetup remove s
	fill /dev/mapper/p
	profile alone-write /dev/mapper/p --rw=randwrite --bs=4k --number_ios="$ios"
	profile alone-read /dev/mapper/p --rw=randread --bs=4k --number_ios="$ios"
	fz_end
	fz_pair
	link dead
	profile cold-write /dev/mapper/p --rw=randwrite --bs=4k --number_ios="$ios"
	fill /dev/mapper/p
	freezectl freeze p --force --wait cut >/dev/null
	profile frozen-first /dev/mapper/p --rw=randwrite --bs=4k --number_ios="$ios"
	profile frozen-write /dev/mapper/p --rw=randwrite --bs=4k --number_ios="$ios"
	profile frozen-read /dev/mapper/p --rw=randread --bs=4k --number_ios="$ios"
	fz_end
}

# Both ends of a connected pair, which seals and opens what is written.
measure_crypto_profiles() {
	set_mib=64
	freezectl key generate bench >/dev/null 2>&1
	for how in aes-gcm chacha20-poly1305 clear; do
		auth='key :32:logon:freezecopy:bench'
		[ "$how" != clear ] || auth='auth none'
		ciphers $how
		fz_pair
		check_cipher $how
		profile "connected-write-$how" /dev/mapper/p --rw=randwrite --bs=4k --number_ios=$((ios / 4))
		fz_end
	done
}
