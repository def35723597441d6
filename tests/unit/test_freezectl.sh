#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# freezectl as far as it goes without the module: arguments, conf files, what is
# on devices, who uses them, freezing file systems, the udev rule.
#
#   make -C tools/freezectl check [K="NAME..."]
#
# Touches only loop devices and files that it makes itself.  Each test is a
# function test_NAME, run in a subshell of its own; ends with "N passed, N failed".
set -uo pipefail

: "${FREEZECTL:?the freezectl to test}"
: "${HELPERS:?where the programs of tools/freezectl/test/ are}"
top=$(realpath "$(dirname "$0")/../..")
work=$(mktemp -d)
export FREEZECTL_CONFDIR=$work/conf
readonly uuid=6f0c2b5e-8a52-4f9e-9a1b-0d6b3c1f2e11
loops=()

# --- helpers ---

fail() {
	echo "    $*" >&2
	exit 1
}

# ctl EXPECTED_STATUS PATTERN ARGUMENT...: its output, both streams, has to match.
ctl() {
	local expected=$1 pattern=$2 status=0
	shift 2
	"$FREEZECTL" "$@" >"$work/out" 2>&1 || status=$?
	[[ $status == "$expected" ]] ||
		fail "freezectl $*: exit $status, expected $expected: $(cat "$work/out")"
	[[ -z $pattern ]] || grep -qE -- "$pattern" "$work/out" ||
		fail "freezectl $*: no '$pattern' in: $(cat "$work/out")"
}

# A new loop device of SIZE, its name in $loop.
make_loop() {
	local file
	file=$(mktemp "$work/disk.XXXXXX")
	truncate -s "$1" "$file"
	loop=$(losetup --find --show "$file") || fail "losetup failed"
	loops+=("$loop")
}

# meta, data, diff, diff_b: four loop devices.
make_devices() {
	make_loop "${1:-4M}"; meta=$loop
	make_loop 32M; data=$loop
	make_loop 8M; diff=$loop
	make_loop 8M; diff_b=$loop
}

create_primary() {
	local status=$1 pattern=$2
	shift 2
	ctl "$status" "$pattern" create vol primary --meta "$meta" --data "$data" --diff "$diff" \
		--peer 192.0.2.1 --insecure "$@"
}

create_secondary() {
	local status=$1 pattern=$2
	shift 2
	ctl "$status" "$pattern" create vol secondary --meta "$meta" --data "$data" \
		--diff-a "$diff" --diff-b "$diff_b" --listen 0.0.0.0 --insecure "$@"
}

# Without the module the last step of create fails: whatever was to be refused was not.
reached_load='vol is not created'

write_conf() {
	mkdir -p "$FREEZECTL_CONFDIR"
	cat >"$FREEZECTL_CONFDIR/vol.conf"
	chmod 600 "$FREEZECTL_CONFDIR/vol.conf"
}

good_conf() {
	cat <<-END
		[volume]
		role = primary
		uuid = $uuid
		pair = $uuid
		block-size = 65536
		[devices]
		meta = ${meta:-/dev/no-meta}
		data = ${data:-/dev/no-data}
		diff = ${diff:-/dev/no-diff}
		[link]
		peer = 192.0.2.1:7744
		auth = none
	END
}

hash_of() {
	sha256sum <"$1"
}

mount_ext4() {
	make_loop 32M
	mkfs.ext4 -q "$loop" || fail "mkfs.ext4 failed"
	mkdir -p "$work/mnt"
	mount "$loop" "$work/mnt" || fail "mount failed"
}

is_frozen() {
	if fsfreeze -f "$work/mnt" 2>/dev/null; then
		fsfreeze -u "$work/mnt"
		return 1
	fi
}

cleanup() {
	[[ -z ${freezer:-} ]] || kill -KILL "$freezer" 2>/dev/null
	if mountpoint -q "$work/mnt" 2>/dev/null; then
		fsfreeze -u "$work/mnt" 2>/dev/null
		umount "$work/mnt"
	fi
	if mountpoint -q "$work/outer" 2>/dev/null; then
		fsfreeze -u "$work/outer" 2>/dev/null
		losetup -j "$work/outer/file" | cut -d: -f1 | xargs -r losetup -d
		umount "$work/outer"
	fi
	((${#loops[@]} == 0)) || losetup -d "${loops[@]}"
	rm -rf "$FREEZECTL_CONFDIR" "$work"/disk.*
}

need_loops() {
	[[ -w /dev/loop-control ]] || return 1
	[[ ! -e /sys/module/dm_freezecopy ]] ||
		fail "the module is loaded: create would start real volumes"
}

# --- arguments ---

test_verbs_and_help() {
	local verb
	ctl 2 'Usage'
	ctl 2 "no verb 'thaw'" thaw
	ctl 0 'Exit codes' help
	ctl 0 'control interface' --version
	for verb in create key start stop freeze status wait abort recover dump check remove; do
		ctl 0 "^  $verb " help
		ctl 0 'Example:' "$verb" --help
		ctl 0 "Usage: freezectl $verb" help "$verb"
		ctl 2 "freezectl $verb --help" "$verb" --no-such-option
	done
}

test_usage_errors() {
	ctl 2 'expected the NAME' start
	ctl 2 'expected the NAME' stop a b
	ctl 2 'expected the NAME' start ../passwd
	ctl 2 'expected the NAME' remove .hidden
	ctl 2 "state 'image=0'" wait vol image=0
	ctl 2 "state 'image=x'" wait vol image=x
	ctl 2 'expected NAME and a state' wait vol
	ctl 2 'expected seconds' wait vol merged --timeout soon
	ctl 2 '--wait never' freeze vol --wait never
	ctl 2 '--deadline -1' freeze vol --deadline -1
	ctl 2 'expected at most 63' freeze vol --label "$(printf 'x%.0s' {1..64})"
	ctl 2 'at most one NAME' status a b
	ctl 4 'no such volume' status vol
	ctl 4 'no such volume' freeze vol
	ctl 4 'no such volume' recover vol
	ctl 4 'no such volume' abort vol
}

test_create_arguments() {
	local secondary=(create vol secondary --meta a --data b --diff-a c --diff-b d) address
	ctl 2 'expected NAME and a role' create vol
	ctl 2 "name 'a/b'" create a/b primary
	ctl 2 "role 'tertiary'" create vol tertiary
	ctl 2 '--diff is missing' create vol primary --meta a --data b --peer 192.0.2.1
	ctl 2 '--diff-b is missing' create vol secondary --meta a --data b --diff-a c --listen ::
	ctl 2 '--listen does not fit a primary' create vol primary --listen ::
	ctl 2 '--diff does not fit a secondary' create vol secondary --diff a
	ctl 2 'expected a power of two' "${secondary[@]}" --block-size 5000
	ctl 2 'expected a power of two' "${secondary[@]}" --block-size 2M
	ctl 2 'expected a UUID' "${secondary[@]}" --pair 1-2-3
	ctl 2 'expected meta, data or diff' "${secondary[@]}" --force=all
	for address in host 1.2.3 1.2.3.4: 1.2.3.4:0 1.2.3.4:65536 '[1.2.3.4]:5' '[::1' '' '::1]:5'; do
		ctl 2 'numeric ADDRESS' "${secondary[@]}" --listen "$address"
	done
	for address in 1.2.3.4 1.2.3.4:5 ::1 '[::1]' '[::1]:5'; do
		ctl 4 '--key is missing.*freezectl key generate vol' "${secondary[@]}" --listen "$address"
	done
	ctl 4 'no key db' "${secondary[@]}" --listen ::1 --key db
	ctl 2 'does not go with --key' "${secondary[@]}" --listen ::1 --key db --insecure
	ctl 2 'expected the name of a key' "${secondary[@]}" --listen ::1 --key a/b
	ctl 2 'yes: expected on or off' "${secondary[@]}" --listen ::1 --stage-encryption yes
	ctl 2 'expected off, or --key in place of --insecure' "${secondary[@]}" --listen ::1 --insecure \
		--stage-encryption on
}

# --- conf files ---

test_conf_is_read() {
	good_conf | write_conf
	ctl 4 'meta /dev/no-meta: No such file' start vol
	ctl 0 'vol is not running' stop vol
	ctl 4 'vol is not running' freeze vol
}

test_conf_is_checked() {
	local sed_program pattern
	while IFS='|' read -r sed_program pattern; do
		good_conf | sed "$sed_program" | write_conf
		ctl 4 "$pattern" start vol
	done <<-'END'
		s/= primary/= mirror/|role = mirror; expected primary or secondary
		s/^uuid.*/uuid = 12/|uuid = 12; expected a UUID
		s/^block-size.*/verify = no/|verify = no; expected yes
		s/^block-size.*/pace-ms = 10001/|pace-ms = 10001; expected 0 to 10000
		s/65536/65535/|block-size = 65535; expected a power of two
		s/192.0.2.1:7744/nowhere/|peer = nowhere; expected a numeric
		s/auth = none/auth = key/|auth = key; expected none, or a line 'key = NAME'
		s/auth = none/key = a b/|key = a b; expected the name of a key
		s/auth = none/&\nkey = db/|key = db; expected the name of a key, and no line
		s/auth = none/key = db\nauth = none/|auth = none; expected none, or a line
		s/^auth.*/stage_encryption = yes/|stage_encryption = yes; expected on or off
		s/^auth.*/compress = gzip/|compress = gzip; expected lz4 or zstd
		s/^auth.*/rate = 1m/|rate = 1m; expected 0 .no limit. or 128k to 1024G bytes a second
		s/^auth.*/congestion = b b/|congestion = b b; expected a TCP congestion control's name
		s/^meta.*/meta = disk/|meta = disk; expected an absolute path
		s/^\[link\]/[net]/|expected section
		s/^diff /log /|line 9.*log = .*as the key
		/^data/d|data is missing
		/^auth/d|key is missing
		s/^role.*/role/|line 2
	END
}

test_conf_of_others_is_refused() {
	good_conf | write_conf
	chmod 620 "$FREEZECTL_CONFDIR/vol.conf"
	ctl 4 'mode 0620; expected' start vol
	chmod 600 "$FREEZECTL_CONFDIR/vol.conf"
	chown 65534 "$FREEZECTL_CONFDIR/vol.conf"
	ctl 4 'owner 65534' start vol
	ctl 0 'skipped.*owner 65534' status
}

# A user namespace has keyrings of its own: nothing of the host's is touched.
test_keys() {
	unshare --user --map-root-user true 2>/dev/null || return 77
	export -f ctl fail keys_in_namespace
	export FREEZECTL work
	unshare --user --map-root-user bash -c keys_in_namespace || exit 1
}

# file NAME: digits of its current key.
keys_in_namespace() {
	set -u
	local file=$FREEZECTL_CONFDIR/db.key first second digits
	ctl 2 'expected generate, import' key
	ctl 2 'expected the NAME of one key' key generate
	ctl 2 'expected up to' key generate a/b
	ctl 4 'freezectl key generate' key load db
	ctl 0 'Bring .*db.key to the peer' key generate db
	[[ $(stat -c %a "$file") == 600 ]] || fail "mode $(stat -c %a "$file")"
	digits=$(sed -n 's/^key = //p' "$file")
	[[ ${#digits} == 64 ]] || fail "a key of ${#digits} digits"
	! grep -q "$digits" "$work/out" || fail "the key was printed"
	grep -q 'logon *freezecopy:db: 32' /proc/keys || fail "not in the keyring: $(cat /proc/keys)"
	ctl 4 'exists already' key generate db
	ctl 0 '^db  *[0-9a-f]{16}$' key list
	first=$(awk '{print $2}' "$work/out")
	[[ $first == "$(/usr/bin/python3 -c 'import hmac, sys
print(hmac.new(bytes.fromhex(sys.argv[1]), b"freezecopy 1 key id\0\1", "sha256").hexdigest()[:16])' "$digits")" ]] ||
		fail "id $first"
	cp "$file" "$work/old.key"

	ctl 0 'previous' key rotate db
	ctl 4 'a rotation is under way' key rotate db
	ctl 0 "previous $first" key list
	second=$(awk '{print $2}' "$work/out")
	[[ $second != "$first" ]] || fail "the same key again"
	grep -q 'freezecopy:db: 64' /proc/keys || fail "not in the keyring: $(cat /proc/keys)"
	# the peer, which has the old one, takes the new file; another one it does not
	ctl 0 "$second *previous $first" key import db "$file"
	cp "$file" "$work/new.key"
	ctl 0 "$first" key import peer "$work/old.key"
	ctl 0 "$second *previous $first" key import peer "$work/new.key"
	ctl 0 '' key generate other
	ctl 4 'does not have it as its previous one' key import peer "$FREEZECTL_CONFDIR/other.key"
	ctl 0 '' key import peer "$FREEZECTL_CONFDIR/other.key" --force
	ctl 0 "^db *$second\$" key retire db
	ctl 4 'has no previous one' key retire db
	grep -q 'freezecopy:db: 32' /proc/keys || fail "not in the keyring: $(cat /proc/keys)"

	# what is no key, and what others may read
	ctl 4 "expected 'key = ' and 64 digits" key import bad <<<'key = 1234'
	ctl 4 "expected 'key = ' and 64 digits" key import bad <<<"key = ${digits/?/g}"
	ctl 4 'is empty' key import bad </dev/null
	! grep -q "${digits:1}" "$work/out" || fail "the key was printed"
	chmod 640 "$file"
	ctl 4 'mode 0640; expected a file of root that nobody else can read' key load db
	chmod 600 "$file"
	ctl 0 '' key unload db
	ctl 0 '' key load db
	printf '[volume]\nrole = primary\nuuid = %s\n[devices]\nmeta = /m\ndata = /d\ndiff = /f\n[link]\npeer = 192.0.2.1:7744\nkey = db\n' \
		6f0c2b5e-8a52-4f9e-9a1b-0d6b3c1f2e11 >"$FREEZECTL_CONFDIR/vol.conf"
	chmod 600 "$FREEZECTL_CONFDIR/vol.conf"
	ctl 4 'that of the volume vol' key delete db
	rm "$FREEZECTL_CONFDIR/vol.conf"
	ctl 0 '' key delete db
	[[ ! -e $file ]] || fail "the file is there yet"
	# revoked, or not there any more: at one moment
	[[ -z $(awk '$2 !~ /R/ && /freezecopy:db:/' /proc/keys) ]] || fail "$(cat /proc/keys)"
	ctl 4 'no key db' key delete db
}

test_status_json_keys() {
	good_conf | write_conf
	ctl 0 '"mode": "stopped"' status vol --json
	/usr/bin/python3 - "$work/out" <<-'END' || fail "other keys than promised"
		import json, sys
		status = json.load(open(sys.argv[1]))
		assert list(status) == (
		    'format name role mode peer connection auth stage_encryption last_contact pair_uuid image '
		    'copy freeze merge blocks diff wire memory devices events error').split(), list(status)
		assert list(status['image']) == 'number id time label age_seconds'.split()
		for key in 'size total changed unsent inflight diverted staged'.split():
		    assert key in status['blocks'], key
		assert list(status['diff'])[:5] == ['bytes', 'used', 'short', 'writes_waiting',
		                                    'writes_paced']
		assert list(status['wire']) == ['tx_bytes', 'rx_bytes', 'tx_saved_bytes']
		assert list(status['devices']) == ['meta', 'data', 'diff']
		assert status['role'] == 'primary' and status['copy'] is None
		assert status['error'] is None and status['format'] == 1
	END
	ctl 0 '^\[' status --json
	ctl 0 '^vol  primary, stopped' status
}

test_status_of_a_running_volume() {
	"$HELPERS/view_test" json >"$work/out" || fail "view_test failed"
	/usr/bin/python3 - "$work/out" <<-'END' || fail "wrong values: $(cat "$work/out")"
		import json, sys
		s = json.load(open(sys.argv[1]))
		assert s['mode'] == 'freezing' and s['connection'] == 'connected'
		assert s['pair_uuid'].startswith('6f0c0000-0000-')
		assert s['image']['number'] == 6 and s['image']['label'] == 'a "b"\x1b'
		assert 60 <= s['image']['age_seconds'] < 70
		assert s['freeze'] == {'number': 7, 'bytes_total': 4096000, 'bytes_left': 1024000,
		                       'seconds': 1.5}, s['freeze']
		assert s['copy'] == {'bytes_total': 409600, 'bytes_left': 409600}
		assert s['merge'] == {'bytes_total': 40960, 'bytes_left': 4096}
		assert s['blocks'] == {'size': 4096, 'total': 1 << 28, 'changed': 1, 'unsent': 2,
		                       'inflight': 3, 'frozen': 250, 'diverted': 5, 'staged': 0,
		                       'damaged': 0}
		assert s['diff'] == {'bytes': 1 << 36, 'used': 20480, 'short': 12288,
		                     'writes_waiting': 2, 'writes_paced': 11}, s['diff']
		assert s['wire'] == {'tx_bytes': 1 << 53, 'rx_bytes': 9, 'tx_saved_bytes': 3 << 20}
		assert s['memory'] == {'maps': 21, 'slots': 22, 'io': 23}
		assert s['devices']['diff'] == {'path': None, 'number': '254:2', 'error': True}
		assert s['events']['number'] == 42 and s['events']['cut'] == 7
		assert s['events']['short'] == 1 and s['events']['paced'] == 4
		assert s['stage_encryption'] is True
		assert s['auth'] == {'key': None, 'key_id': '0abc000000000000', 'cipher': 'AES-256-GCM'}, s['auth']
		assert s['error'] == 'diff: write failed'
	END
	"$HELPERS/view_test" text >"$work/out"
	grep -q 'key  *0abc000000000000, AES-256-GCM' "$work/out" || fail "no key"
	grep -q 'stage  *encrypted, metadata signed' "$work/out" || fail "no stage"
	grep -q 'ago, "a "b"?"$' "$work/out" || fail "a label commands the terminal: $(cat "$work/out")"
	grep -qE 'freeze +\[#{22}\.{8}\] +75 %  1000 KiB left, image 7, 1.5 s' "$work/out" ||
		fail "no bar: $(cat "$work/out")"
	grep -qE 'peer +192.0.2.2:7744, connected, heard [0-9] s ago' "$work/out" || fail "no peer"
	grep -q 'wire .* 9 B received; compression saved 3 MiB' "$work/out" || fail "nothing saved"
	grep -q 'diff .* 12 KiB more are frozen than it can take; 2 writes wait for room' "$work/out" ||
		fail "no word of a small diff"
	[[ $("$HELPERS/view_test" progress) == freeze*75* ]] || fail "no progress"
}

# --- devices ---

test_device_must_be_a_block_device() {
	need_loops || return 77
	make_devices
	meta=$work/out create_primary 4 'is not a block device'
	meta=/dev/null create_primary 4 'is not a block device'
	meta=$work/none create_primary 4 'No such file'
	[[ ! -e $FREEZECTL_CONFDIR/vol.conf ]] || fail "a conf was left"
}

test_device_in_use_is_refused() {
	need_loops || return 77
	make_devices
	diff=$meta create_primary 4 'diff .* is in use'
	mount_ext4
	data=$loop create_primary 4 'data .*mounted on .*; unmount'
	exec {held}<>"$diff"
	create_primary 4 "diff .* is in use: process $BASHPID"
	exec {held}>&-
	losetup -d "$diff_b"
	truncate -s 8M "$work/disk.read-only"
	diff_b=$(losetup --find --show --read-only "$work/disk.read-only")
	loops[-2]=$diff_b
	diff=$diff_b create_primary 4 'read-only'
	good_conf | sed 's/^diff.*/diff = \/dev\/none/' >"$work/other"
	mkdir -p "$FREEZECTL_CONFDIR"
	install -m 600 "$work/other" "$FREEZECTL_CONFDIR/other.conf"
	create_primary 4 'is the meta device of the volume other'
}

test_sizes_are_checked() {
	need_loops || return 77
	make_devices 32K
	create_primary 4 'meta .* is too small: 32768 bytes, expected 57344'
	grep -q 'needs 57344 = 4096 x (8 + 6 x 1 pages' "$work/out" || fail "no formula"
	make_loop 4M
	meta=$loop
	create_primary 1 'diff .*: 2[0-9]{3} slots of 4096 bytes .*, 2[0-9].[0-9] % of the volume'
	grep -qE 'takes [0-9]+ s of distinct changed blocks at 10 MB/s' "$work/out" ||
		fail "no time: $(cat "$work/out")"
	create_primary 1 'diff .*: 12[0-9] slots of 65536 bytes' --block-size 64K
	create_primary 1 'slowed down, then the freeze is aborted; never with [0-9]+ bytes'
	create_primary 2 'pace-ms 1s: expected 0 to 10000' --pace-ms 1s
	create_primary 2 'compress gzip: expected lz4 or zstd' --compress gzip
	create_primary 2 'rate 64k: expected 0 \(no limit\) or 128k to 1024G' --rate 64k
	create_primary 2 "congestion b/r: expected a TCP congestion control's name" --congestion b/r
	make_loop 8K
	diff=$loop create_primary 4 'diff .* is too small'
}

test_content_is_refused_and_forced() {
	local before
	need_loops || return 77
	make_devices
	mkfs.ext4 -q -L mine "$meta"
	mkfs.ext4 -q "$diff"
	create_primary 4 'meta .* holds ext4, label "mine", UUID .*; --force=meta destroys it'
	create_primary 4 'diff .* holds ext4.*--force=diff' --force=meta
	before=$(hash_of "$meta")
	create_primary 4 'meta .* holds' --force=diff
	[[ $(hash_of "$meta") == "$before" ]] || fail "a refused create wrote to meta"
	create_primary 1 "$reached_load" --force=meta,diff
	create_primary 1 "$reached_load"
	cmp -n 57344 "$meta" /dev/zero || fail "the head of meta is not zero"
	[[ ! -e $FREEZECTL_CONFDIR/vol.conf ]] || fail "a conf was left"
	printf 'something' >"$diff"
	create_primary 4 'diff .* holds data of a kind that is not known'
}

test_data_is_kept_on_a_primary() {
	local before
	need_loops || return 77
	make_devices
	mkfs.ext4 -q "$data"
	before=$(hash_of "$data")
	create_primary 1 'data .*: ext4, UUID .*; it is kept'
	[[ $(hash_of "$data") == "$before" ]] || fail "data was written to"
	create_secondary 4 'data .* holds ext4.*--force=data'
	create_secondary 1 "$reached_load" --force=data
	[[ $(hash_of "$data") == "$before" ]] || fail "data was written to"
}

test_remove_and_wipe() {
	local before
	need_loops || return 77
	make_devices
	for loop in "$meta" "$data" "$diff"; do
		yes something | head -c 4M >"$loop"
	done
	before=$(hash_of "$data")
	good_conf | write_conf
	cp "$FREEZECTL_CONFDIR/vol.conf" "$work/vol.conf"
	ctl 0 '' remove vol
	[[ ! -e $FREEZECTL_CONFDIR/vol.conf ]] || fail "the conf is still there"
	cmp -n 9 "$meta" <(printf 'something') || fail "remove without --wipe wrote to meta"
	install -m 600 "$work/vol.conf" "$FREEZECTL_CONFDIR/vol.conf"
	exec {held}<>"$diff"
	ctl 4 'diff .* is in use' remove vol --wipe
	exec {held}>&-
	[[ -e $FREEZECTL_CONFDIR/vol.conf ]] || fail "a refused remove deleted the conf"
	ctl 0 '' remove vol --wipe
	cmp -n 57344 "$meta" /dev/zero || fail "the head of meta is not zero"
	cmp -n 16384 "$diff" /dev/zero || fail "the index on diff is not zero"
	[[ $(hash_of "$data") == "$before" ]] || fail "data was written to"
	ctl 4 'No such file' remove vol
}

# --- metadata, offline ---

# meta and diff: files with the metadata of a primary, see mkmeta_test.c
make_metadata() {
	meta=$work/disk.meta diff=$work/disk.diff
	rm -f "$meta" "$diff"
	truncate -s 4M "$meta"
	truncate -s 8M "$diff"
	"$HELPERS/mkmeta_test" "$meta" "$diff" "$@" || fail "mkmeta_test failed"
}

# Change bytes of FILE at OFFSET, without sealing the page anew.
spoil() {
	printf 'spoiled' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

test_dump() {
	local before
	make_metadata
	before=$(hash_of "$meta")
	ctl 0 '^superblock.image.label = seven\?$' dump "$meta"
	ctl 0 '^changed_0.ranges = 0 5-7 8191' dump "$meta"
	ctl 0 '^unsent.ranges = 9$' dump "$meta"
	ctl 0 'superblock.flags = \["clean"\]' dump "$meta"
	ctl 0 '"number": 7' dump "$meta" --json
	ctl 0 '^index.entries = \[\{"slot":2,"block":11,"zero":false\}\]' dump "$diff"
	[[ $(hash_of "$meta") == "$before" ]] || fail "dump wrote to meta"
	ctl 1 'cannot read its first 8 KiB' dump /dev/null
	ctl 1 'No such file' dump "$work/none"
}

test_check_finds_nothing_in_good_metadata() {
	make_metadata
	ctl 0 'no findings' check "$meta"
	ctl 0 'no findings' check "$diff"
	spoil "$meta" 200	# torn: what the other copy is for
	ctl 0 'superblock 0 is torn .*; superblock 1 counts' check "$meta"
	ctl 0 'no findings' check "$meta"
}

test_check_finds() {
	make_metadata
	spoil "$meta" 200
	spoil "$meta" 4300
	ctl 1 'superblock 0: checksum [0-9a-f]+, expected [0-9a-f]+' check "$meta"
	make_metadata
	spoil "$meta" 8192
	ctl 1 'regions: no valid copy' check "$meta"
	make_metadata
	truncate -s 48K "$meta"
	ctl 1 'size: 49152 bytes, expected at least 57344' check "$meta"
	make_metadata
	spoil "$meta" $((4096 * 12 + 100))	# unsent: 8 pages and 4 of changed before it
	ctl 1 'unsent: 1 damaged pages, expected none' check "$meta"
	make_metadata
	forge "$meta" $((4096 * 9)) $((64 + 8192 / 8 - 1))	# changed_0, a block that there is
	ctl 0 'no findings' check "$meta"
	forge "$meta" $((4096 * 9)) $((64 + 8192 / 8))		# and two that there are not
	forge "$meta" $((4096 * 9)) $((4096 - 1))
	ctl 1 'changed_0: 2 bits beyond the last block, expected none' check "$meta"
	make_metadata
	spoil "$diff" 8300
	ctl 0 'index: one copy of 1 pages is torn' check "$diff"
	spoil "$diff" 12400
	ctl 1 'index: 1 damaged pages, expected none' check "$diff"
	make_metadata
	truncate -s 6M "$diff"
	ctl 1 'slots: [0-9]+, expected at most [0-9]+ for 6291456 bytes' check "$diff"
	truncate -s 0 "$meta"
	truncate -s 1M "$meta"
	ctl 1 'all zero, expected freezecopy metadata' check "$meta"
}

test_signed_metadata() {
	unshare --user --map-root-user true 2>/dev/null || return 77
	export -f ctl fail make_metadata spoil hash_of write_conf signed_in_namespace
	export FREEZECTL HELPERS work
	unshare --user --map-root-user bash -c signed_in_namespace || exit 1
}

# A bit at OFFSET of the page at byte AT of FILE is changed, and the checksum made right.
forge() {
	python3 - "$@" <<-'END'
		import sys
		path, at, offset = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
		table = []
		for n in range(256):
		    for _ in range(8):
		        n = n >> 1 ^ (0x82f63b78 if n & 1 else 0)
		    table.append(n)
		with open(path, "r+b") as f:
		    f.seek(at)
		    page = bytearray(f.read(4096))
		    page[offset] ^= 1
		    page[4:8] = bytes(4)
		    crc = 0xffffffff
		    for byte in page:
		        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
		    page[4:8] = (crc ^ 0xffffffff).to_bytes(4, "little")
		    f.seek(at)
		    f.write(page)
	END
}
export -f forge

signed_in_namespace() {
	set -u
	local id other
	ctl 0 '' key generate mine
	id=$(cut -d' ' -f2- <"$work/out" | tr -d ' ' | head -n 1)
	ctl 0 '' key generate other
	make_metadata mine
	other=$work/other-diff
	cp "$diff" "$other"

	# without a key: what can be told; with it, all
	ctl 0 'signed, not checked: no key given' check "$meta"
	ctl 0 'no key and meta device given' check "$diff"
	ctl 0 'no key and meta device given' check "$diff" --key mine
	ctl 0 '^signatures.state = signed, not checked: no key given' dump "$meta"
	ctl 0 "^superblock.wrapped_with = $id\$" dump "$meta"
	ctl 0 'no findings' check "$meta" --key mine
	! grep -q 'not checked' "$work/out" || fail "$(cat "$work/out")"
	ctl 0 'no findings' check "$diff" --key mine --meta "$meta"
	ctl 0 '^signatures.state = signed, checked' dump "$diff" --key mine --meta "$meta"
	ctl 0 '"wrong": 0' dump "$meta" --key mine --json
	ctl 1 "superblock 0: under the key with the id $id, the key given has the id" check "$meta" --key other
	ctl 1 'freezectl key generate' check "$meta" --key none
	ctl 1 'expected the meta device of the volume with format' check "$diff" --key mine --meta "$diff"

	# each finding
	forge "$meta" 8192 24
	ctl 0 'no findings' check "$meta"
	ctl 1 'page at byte 8192: its keyed checksum is not what' check "$meta" --key mine
	ctl 0 '^signatures.wrong = 1' dump "$meta" --key mine
	make_metadata mine
	forge "$meta" 0 $((64 + 8))
	ctl 1 'page at byte 0: its keyed checksum is not what' check "$meta" --key mine
	make_metadata mine
	forge "$meta" 0 $((64 + 710))
	ctl 1 'superblock 0: the tag of its wrapped keys is not what the key makes' check "$meta" --key mine
	make_metadata mine
	forge "$meta" 4096 12
	ctl 1 'page at byte 4096 is not signed' check "$meta"
	# that there are none, where there should be, is one
	make_metadata
	ctl 1 'signatures: none, expected those of the key mine' check "$meta" --key mine
	ctl 1 'signatures: none, expected those of the key mine' check "$diff" --key mine
	ctl 0 'no findings' check "$meta"
	make_metadata mine
	forge "$diff" 8192 100
	ctl 1 'page at byte 8192: its keyed' check "$diff" --key mine --meta "$meta"
	spoil "$diff" 8300	# damaged is damaged
	ctl 0 'index: one copy of 1 pages is torn' check "$diff" --key mine --meta "$meta"

	# a key that metadata is under is not thrown away
	make_metadata mine
	write_conf <<-END
		[volume]
		role = primary
		uuid = 6f0c2b5e-8a52-4f9e-9a1b-0d6b3c1f2e11
		[devices]
		meta = $meta
		data = /d
		diff = $diff
		[link]
		peer = 192.0.2.1:7744
		stage_encryption = on
		key = mine
	END
	ctl 0 '' key rotate mine
	ctl 4 "the volume vol is still under the key $id, which would be lost; 'freezectl start vol'" key retire mine
	ctl 4 'which would be lost' key rotate mine --force
	ctl 0 'no findings' check "$meta" --key mine
	# nor one that metadata may be under
	mv "$meta" "$meta.away"
	ctl 4 "volume vol cannot be read \\($meta: No such file" key retire mine
	mv "$meta.away" "$meta"
	sed -i 's/= primary/= tertiary/' "$FREEZECTL_CONFDIR/vol.conf"
	ctl 4 'role = tertiary; expected primary' key retire mine
	ctl 4 'role = tertiary; expected primary' key delete mine
	sed -i 's/= tertiary/= primary/' "$FREEZECTL_CONFDIR/vol.conf"
	make_metadata mine	# as a start writes it anew
	ctl 0 '' key retire mine
	ctl 0 'no findings' check "$meta" --key mine
	sed -i 's/key = mine/auth = none/' "$FREEZECTL_CONFDIR/vol.conf"
	# what a crash has left of writing it goes, too
	cp "$FREEZECTL_CONFDIR/mine.key" "$FREEZECTL_CONFDIR/mine.new"
	ctl 0 '' key delete mine
	[[ ! -e $FREEZECTL_CONFDIR/mine.new ]] || fail "a copy of the key is left"
}

# What others wrote does not command the terminal of who reads it.
test_labels_are_printed_safely() {
	need_loops || return 77
	make_devices
	mkfs.ext4 -q -L $'\e[2Jmine' "$meta"
	create_primary 4 'label "\?\[2Jmine"'
}

# A conf that goes while start waits for a device is not started.
test_start_reads_the_conf_under_the_lock() {
	local starter
	good_conf | write_conf
	"$FREEZECTL" start vol --wait-devices 2 >"$work/out" 2>&1 &
	starter=$!
	sleep 0.5
	rm "$FREEZECTL_CONFDIR/vol.conf"
	wait "$starter"
	grep -q 'vol.conf: No such file' "$work/out" || fail "$(cat "$work/out")"
}

test_create_names_metadata() {
	need_loops || return 77
	make_devices
	"$HELPERS/mkmeta_test" "$meta" "$diff" || fail "mkmeta_test failed"
	create_primary 4 'meta .* holds the metadata of a freezecopy primary, pair 6f0c0000-'
	create_primary 4 'diff .* holds freezecopy metadata; --force=diff' --force=meta
}

# --- freezing file systems ---

# Start the helper in the background and wait until it has frozen.
freeze_in_background() {
	local i
	: >"$work/freeze.out"
	"$HELPERS/fsfreeze_test" "$loop" "$1" "$2" >"$work/freeze.out" 2>&1 &
	freezer=$!
	for ((i = 0; i < 100; i++)); do
		grep -q frozen "$work/freeze.out" && return
		sleep 0.05
	done
	fail "not frozen: $(cat "$work/freeze.out")"
}

# The child goes on after its parent's death: give it a moment.
thaws_soon() {
	local i
	for ((i = 0; i < 60; i++)); do
		is_frozen || return 0
		sleep 0.05
	done
	fail "still frozen"
}

test_freeze_and_thaw() {
	need_loops || return 77
	mount_ext4
	freeze_in_background 10000 300
	is_frozen || fail "not frozen"
	wait "$freezer" || fail "exit $?"
	grep -q '^held' "$work/freeze.out" || fail "$(cat "$work/freeze.out")"
	! is_frozen || fail "still frozen"
}

test_thaws_when_killed() {
	need_loops || return 77
	mount_ext4
	freeze_in_background 10000 8000
	kill -KILL "$freezer"
	wait "$freezer" 2>/dev/null
	thaws_soon
	freeze_in_background 10000 8000
	kill -TERM "$freezer"
	thaws_soon
}

test_thaws_at_the_deadline() {
	need_loops || return 77
	mount_ext4
	freeze_in_background 1000 2500
	kill -STOP "$freezer"
	thaws_soon
	kill -CONT "$freezer"
	wait "$freezer"
	grep -q '^lost' "$work/freeze.out" || fail "$(cat "$work/freeze.out")"
}

test_parent_thaws_when_the_child_is_killed() {
	need_loops || return 77
	mount_ext4
	freeze_in_background 10000 600
	pkill -KILL -P "$freezer" || fail "no child"
	wait "$freezer"
	! is_frozen || fail "still frozen"
}

# A freeze that takes its time: a file system on a file of one that is frozen.
test_child_killed_while_it_freezes() {
	local i
	need_loops || return 77
	mount_ext4
	mkdir "$work/outer"
	mount --move "$work/mnt" "$work/outer"
	truncate -s 16M "$work/outer/file"
	mkfs.ext4 -q "$work/outer/file"
	loop=$(losetup --find --show "$work/outer/file") || fail "losetup failed"
	mount "$loop" "$work/mnt"
	sync -f "$work/mnt"
	fsfreeze -f "$work/outer"
	"$HELPERS/fsfreeze_test" "$loop" 20000 10 >"$work/freeze.out" 2>&1 &
	freezer=$!
	for ((i = 0; i < 100; i++)); do
		grep -q freeze "/proc/$(pgrep -P "$freezer")/stack" 2>/dev/null && break
		sleep 0.05
	done
	((i < 100)) || fail "it does not freeze: $(cat "$work/freeze.out")"
	pkill -KILL -P "$freezer" || fail "no child"
	fsfreeze -u "$work/outer"
	wait "$freezer"
	grep -q "killed while it froze ext4 on $work/mnt, which may be frozen yet" "$work/freeze.out" ||
		fail "not named: $(cat "$work/freeze.out")"
	is_frozen || fail "it was not in time"
}

# Somebody else thaws what was frozen for the cut.
test_thaw_by_another() {
	need_loops || return 77
	mount_ext4
	freeze_in_background 10000 500
	fsfreeze -u "$work/mnt"
	wait "$freezer"
	grep -q '^lost' "$work/freeze.out" || fail "$(cat "$work/freeze.out")"
}

test_frozen_by_the_user_stays_frozen() {
	need_loops || return 77
	mount_ext4
	fsfreeze -f "$work/mnt"
	"$HELPERS/fsfreeze_test" "$loop" 5000 10 >"$work/freeze.out" 2>&1 || fail "exit $?"
	grep -q '^held' "$work/freeze.out" || fail "$(cat "$work/freeze.out")"
	grep -q 'frozen already and is left so' "$work/freeze.out" || fail "not reported"
	is_frozen || fail "the user's freeze was undone"
}

test_freeze_what_cannot_be_frozen() {
	need_loops || return 77
	mount_ext4
	mkdir "$work/mnt/sub"
	mount --bind "$work/mnt/sub" "$work/mnt/sub"	# one file system, mounted twice
	freeze_in_background 5000 10
	wait "$freezer" || fail "exit $?"
	umount "$work/mnt/sub"
	mount -t tmpfs none "$work/mnt"
	"$HELPERS/fsfreeze_test" "$loop" 5000 10 >"$work/freeze.out" 2>&1
	[[ $? == 4 ]] || fail "a hidden mount point: $(cat "$work/freeze.out")"
	umount "$work/mnt"
	grep -q 'cannot be reached to freeze it' "$work/freeze.out" || fail "not explained"
}

# --- udev ---

test_udev_probe() {
	need_loops || return 77
	make_devices
	good_conf | sed 's/^diff.*/diff = \/dev\/disk\/by-id\/new/' | write_conf
	ctl 0 'FREEZECOPY_BACKING=vol' udev-probe "$data" disk/by-uuid/1 disk/by-id/2 disk/by-label/3
	grep -qx 'FREEZECOPY_LINKS=disk/by-id/2 ' "$work/out" || fail "links: $(cat "$work/out")"
	ctl 0 'FREEZECOPY_DEVICE=diff' udev-probe "$diff" disk/by-id/new
	ctl 1 '' udev-probe "$diff_b"
}

# In a mount namespace, with a /dev and a /run of its own.
udev_namespace() {
	local dev=$work/dev
	mkdir -p "$dev"
	mount -t tmpfs dev "$dev"
	cp -a /dev/null "$data" "$dev/"
	mount --bind "$dev" /dev
	mount -t tmpfs run /run
	mount -t tmpfs sbin /usr/local/sbin
	mkdir -p /run/udev/rules.d
	cp "$top/tools/udev/62-freezecopy.rules" /run/udev/rules.d/
	cp "$FREEZECTL" /usr/local/sbin/freezectl
	sed -i "s|TEST!=\"/etc/freezecopy\"|TEST!=\"$FREEZECTL_CONFDIR\"|
		s|PATH=/usr/local|FREEZECTL_CONFDIR=$FREEZECTL_CONFDIR PATH=/usr/local|" \
		/run/udev/rules.d/62-freezecopy.rules
	udevadm test --action=change "/sys/class/block/${data#/dev/}" 2>&1
}

test_udev_rule() {
	need_loops || return 77
	[[ -x $(command -v udevadm) ]] || return 77
	make_devices
	mkfs.ext4 -q -L mine "$data"
	good_conf | write_conf
	export -f udev_namespace
	export top work data FREEZECTL
	unshare --mount bash -c udev_namespace >"$work/udev.out" || fail "udevadm: $(tail -n 5 "$work/udev.out")"
	! grep '62-freezecopy.rules.*\(Invalid\|error\|fail\)' "$work/udev.out" || fail "bad rule"
	grep -q '^SYSTEMD_READY=0' "$work/udev.out" || fail "not hidden: $(tail -n 20 "$work/udev.out")"
	! grep '^DEVLINKS=.*by-\(uuid\|label\)' "$work/udev.out" || fail "links are left"
	! grep '^ID_FS_TYPE=' "$work/udev.out" || fail "the type is left"
	rm "$FREEZECTL_CONFDIR/vol.conf"
	unshare --mount bash -c udev_namespace >"$work/udev.out" || fail "udevadm failed"
	grep -q '^DEVLINKS=.*by-label/mine' "$work/udev.out" || fail "links of others are gone"
}

# --- run them ---

passed=0
failed=0
skipped=0
names=("$@")
((${#names[@]} > 0)) || mapfile -t names < <(declare -F | sed -n 's/^declare -f test_//p')
for name in "${names[@]}"; do
	status=0
	(trap cleanup EXIT && "test_$name") || status=$?
	case $status in
	0) echo "ok    $name"; passed=$((passed + 1)) ;;
	77) echo "skip  $name: no loop devices, or no udevadm"; skipped=$((skipped + 1)) ;;
	*) echo "FAIL  $name"; failed=$((failed + 1)) ;;
	esac
done
rm -rf "$work"
((skipped == 0)) || echo "$skipped skipped"
echo "$passed passed, $failed failed"
((failed == 0))
