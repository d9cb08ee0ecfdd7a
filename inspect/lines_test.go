package inspect

import (
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// kv is a key that was created at revision, under lease.
func kv(revision, lease int64, key, value string) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), CreateRevision: revision, ModRevision: revision, Lease: lease}
}

const record = `{"name":"backup","host":"db1","pid":7,"started":"2026-01-02T03:04:05Z","labels":{"zone":"b","job":"x"}}`

func TestLinesAsText(t *testing.T) {
	for _, test := range []struct {
		name string
		opts options
		keys []*mvccpb.KeyValue
		want string
	}{
		{"holder and waiters in order of arrival", options{}, []*mvccpb.KeyValue{
			kv(9, 0x1a, "fenceline/lock/nightly/1a", ""),
			kv(5, 0x2b, "fenceline/lock/nightly/2b", ""),
			kv(7, 0x3c, "fenceline/lock/nightly/3c-1", ""),
			kv(1, 0x1a, "fenceline/session/1a", record),
			kv(2, 0x2b, "fenceline/session/2b", `{"name":"web","pid":8}`),
		}, `
KIND  NAME     POS  STATE  SINCE  TOKEN  WHO
lock  nightly  1    holds  -      20480  web pid 8
lock  nightly  2    waits  -      28672  unknown, lease 3c
lock  nightly  3    waits  -      36864  backup@db1 pid 7 job=x zone=b`},
		{"since when, and for whom, if that was said", options{}, []*mvccpb.KeyValue{
			kv(5, 0x2b, "fenceline/lock/nightly/2b", ""),
			kv(7, 0x3c, "fenceline/lock/nightly/3c-1", ""),
			kv(8, 0x4d, "fenceline/lock/nightly/4d", ""),
			kv(9, 0x2b, "fenceline/since/fenceline%2Flock%2Fnightly%2F2b", `{"revision":5,"owner":"job 1","waits":"2026-01-02T03:04:05.5Z","holds":"2026-01-02T03:05:00Z"}`),
			kv(10, 0x3c, "fenceline/since/fenceline%2Flock%2Fnightly%2F3c-1", `{"revision":7,"waits":"2026-01-02T03:04:06Z"}`),
			kv(11, 0x4d, "fenceline/since/fenceline%2Flock%2Fnightly%2F4d", `{"revision":3,"waits":"2026-01-02T00:00:00Z"}`), // of another that stood there
		}, `
KIND  NAME     POS  STATE  SINCE                 TOKEN  WHO                OWNER
lock  nightly  1    holds  2026-01-02T03:05:00Z  20480  unknown, lease 2b  job 1
lock  nightly  2    waits  2026-01-02T03:04:06Z  28672  unknown, lease 3c  -
lock  nightly  3    waits  -                     32768  unknown, lease 4d  -`},
		{"names are read back", options{}, []*mvccpb.KeyValue{
			kv(1, 1, "fenceline/lock/a%2Fb%25/1", ""),
		}, `
KIND  NAME  POS  STATE  SINCE  TOKEN  WHO
lock  a/b%  1    holds  -      4096   unknown, lease 1`},
		{"kinds with rules of their own have no state", options{}, []*mvccpb.KeyValue{
			kv(1, 1, "fenceline/other/s/line/1-1", "2"),
			kv(2, 0, "fenceline/other/s/limit", "3"),
			kv(4, 1, "fenceline/election/e/1", "http://a:1"),
			kv(5, 1, "fenceline/session/1", record),
		}, `
KIND      NAME  POS  STATE  SINCE  TOKEN  WHO                                             VALUE
election  e     1    holds  -      16384  backup@db1 pid 7 job=x zone=b                   http://a:1
other     s     1    -      -      4096   backup@db1 pid 7 job=x zone=b                   2
other     s     2    -      -      8192   unknown, no lease, key fenceline/other/s/limit  3`},
		{"units hold from the front as long as they fit", options{}, []*mvccpb.KeyValue{
			kv(1, 0, "fenceline/semaphore/s/limit", "4"),
			kv(2, 1, "fenceline/semaphore/s/line/1-1", "2"),
			kv(3, 1, "fenceline/semaphore/s/line/1-2", "1"),
			kv(4, 2, "fenceline/semaphore/s/line/2-1", "2"),
			kv(5, 2, "fenceline/semaphore/s/line/2-2", "1"),
			kv(1, 0, "fenceline/semaphore/unused/limit", "4"),
			kv(7, 2, "fenceline/semaphore/without/line/2-3", "1"),
			kv(1, 1, "fenceline/session/1", record),
		}, `
KIND       NAME     POS  UNITS   STATE  SINCE  TOKEN  WHO
semaphore  s        1    2 of 4  holds  -      8192   backup@db1 pid 7 job=x zone=b
semaphore  s        2    1 of 4  holds  -      12288  backup@db1 pid 7 job=x zone=b
semaphore  s        3    2 of 4  waits  -      16384  unknown, lease 2
semaphore  s        4    1 of 4  waits  -      20480  unknown, lease 2
semaphore  without  1    1       -      -      28672  unknown, lease 2`},
		{"who is in a barrier, and inside, and what a latch has left", options{}, []*mvccpb.KeyValue{
			kv(1, 0, "fenceline/barrier/b/round", `{"round":1,"through":2,"rounds":[{"round":1,"in":[2]}]}`),
			kv(2, 1, "fenceline/barrier/b/in/1", "3"),
			kv(3, 1, "fenceline/barrier/b/in/1-1", "3"),
			kv(4, 0, "fenceline/latch/l/tally", "3"),
			kv(5, 0, "fenceline/latch/l/id/a", ""),
			kv(6, 0, "fenceline/gate/g/closed", `{"name":"web","pid":8}`),
		}, `
KIND     NAME  POS  STATE        SINCE  TOKEN  WHO               VALUE
barrier  b     1    inside       -      8192   unknown, lease 1  3
barrier  b     2    waits        -      12288  unknown, lease 1  3
gate     g     1    closed       -      24576  web pid 8         -
latch    l     1    3 of 3 left  -      16384  -                 3`},
		{"readers in front hold together", options{}, []*mvccpb.KeyValue{
			kv(5, 4, "fenceline/rwlock/r/4", "read"),
			kv(2, 2, "fenceline/rwlock/r/2-1", "read"),
			kv(1, 1, "fenceline/rwlock/r/1", "read"),
			kv(4, 3, "fenceline/rwlock/r/3", "write"),
			kv(6, 3, "fenceline/session/3", `{"name":"web","pid":8}`),
		}, `
KIND    NAME  POS  MODE   STATE  SINCE  TOKEN  WHO
rwlock  r     1    read   holds  -      4096   unknown, lease 1
rwlock  r     2    read   holds  -      8192   unknown, lease 2
rwlock  r     3    write  waits  -      16384  web pid 8
rwlock  r     4    read   waits  -      20480  unknown, lease 4`},
		{"a writer in front holds alone, and so does who does not say what it is", options{}, []*mvccpb.KeyValue{
			kv(1, 1, "fenceline/rwlock/a/1", "write"),
			kv(2, 2, "fenceline/rwlock/a/2", "read"),
			kv(3, 3, "fenceline/rwlock/b/3", "?"),
			kv(4, 4, "fenceline/rwlock/b/4", "read"),
		}, `
KIND    NAME  POS  MODE   STATE  SINCE  TOKEN  WHO               VALUE
rwlock  a     1    write  holds  -      4096   unknown, lease 1  -
rwlock  a     2    read   waits  -      8192   unknown, lease 2  -
rwlock  b     1    write  holds  -      12288  unknown, lease 3  ?
rwlock  b     2    read   waits  -      16384  unknown, lease 4  -`},
		{"what rests out its minimum hold is released", options{}, []*mvccpb.KeyValue{
			kv(1, 0x77, "fenceline/lock/tick/1a", ""),
			kv(2, 0x2b, "fenceline/lock/tick/2b", ""),
			kv(3, 0x78, "fenceline/rwlock/r/2b", "read"),
			kv(4, 0x79, "fenceline/rwlock/r/1a", "read"),
			kv(5, 0x2b, "fenceline/session/2b", `{"name":"web","pid":8}`),
			kv(6, 0, "fenceline/lock/by-hand/1", ""),
		}, `
KIND    NAME     POS  MODE  STATE                       SINCE  TOKEN  WHO
lock    by-hand  1    -     holds                       -      24576  unknown, no lease
lock    tick     1    -     released, kept for a while  -      4096   its session has ended
lock    tick     2    -     waits                       -      8192   web pid 8
rwlock  r        1    read  released, kept for a while  -      12288  web pid 8
rwlock  r        2    read  released, kept for a while  -      16384  its session has ended`},
		{"a set waits in all its lines", options{}, []*mvccpb.KeyValue{
			kv(1, 1, "fenceline/lock/a/1", ""),
			kv(2, 2, "fenceline/lock/a/2-2", ""),
			kv(2, 2, "fenceline/lock/b/2-2", ""),
			kv(2, 2, "fenceline/rwlock/b/2-2", "write"),
		}, `
KIND    NAME  POS  MODE   STATE  SINCE  TOKEN  WHO
lock    a     1    -      holds  -      4096   unknown, lease 1
lock    a     2    -      waits  -      8192   unknown, lease 2
lock    b     1    -      waits  -      8192   unknown, lease 2
rwlock  b     1    write  holds  -      8192   unknown, lease 2`},
		{"a raw prefix, ours and theirs", options{prefix: "my/lock"}, []*mvccpb.KeyValue{
			kv(1, 2, "my/lock/2", ""),
			kv(2, 1, "my/lock/1", ""),
			kv(3, 0, "my/lock/by hand", ""),
			kv(4, 1, "fenceline/session/1", record),
		}, `
KIND    NAME     POS  STATE  SINCE  TOKEN  WHO
prefix  my/lock  1    holds  -      4096   unknown, lease 2
prefix  my/lock  2    waits  -      8192   backup@db1 pid 7 job=x zone=b
prefix  my/lock  3    waits  -      12288  unknown, no lease, key my/lock/by hand`},
		{"a raw prefix with readers and a mutex", options{prefix: "p"}, []*mvccpb.KeyValue{
			kv(1, 1, "p/1", "read"),
			kv(2, 2, "p/2", "read"),
			kv(3, 3, "p/3", ""),
			kv(4, 1, "fenceline/session/1", "{}"),
		}, `
KIND    NAME  POS  MODE  STATE  SINCE  TOKEN  WHO
prefix  p     1    read  holds  -      4096    pid 0
prefix  p     2    read  holds  -      8192   unknown, lease 2
prefix  p     3    -     waits  -      12288  unknown, lease 3`},
		{"keys of foreign shape", options{}, []*mvccpb.KeyValue{
			kv(1, 0, "fenceline/config", "x"),
			kv(2, 0, "fenceline/session/nobody", "{"),
			kv(3, 4, "fenceline/lock/l/what/is/this", ""),
		}, `
KIND  NAME  POS  STATE  SINCE  TOKEN  WHO                                                  VALUE
?     -     1    -      -      4096   unknown, no lease, key fenceline/config              x
?     -     2    -      -      8192   unknown, no lease, key fenceline/session/nobody      {
lock  l     1    holds  -      12288  unknown, lease 4, key fenceline/lock/l/what/is/this  -`},
		{"what a terminal would obey is quoted", options{}, []*mvccpb.KeyValue{
			kv(1, 1, "fenceline/lock/\x1b[2J/1", "\x07\xff"),
			kv(2, 2, "fenceline/session/1", `{"name":"a\u001b]0;b","host":"\u202e","pid":1}`),
		}, `
KIND  NAME       POS  STATE  SINCE  TOKEN  WHO                       VALUE
lock  "\x1b[2J"  1    holds  -      4096   "a\x1b]0;b@\u202e pid 1"  "\a\xff"`},
		{"nobody", options{}, nil, "KIND  NAME  POS  STATE  SINCE  TOKEN  WHO"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := test.opts
			o.namespace = "fenceline/"
			got := o.snapshot(9, test.keys).String()
			if squeeze(got) != squeeze(test.want) {
				t.Errorf("got\n%s\nwant%s", got, test.want)
			}
		})
	}
}

// squeeze leaves alignment to the table's own tests.
func squeeze(text string) string {
	var lines []string
	for l := range strings.Lines(strings.TrimSpace(text)) {
		lines = append(lines, strings.Join(strings.Fields(l), " "))
	}
	return strings.Join(lines, "\n")
}

// What is read of a kind are several ranges, and the user may lack any.
func TestRefusalNamesAllThatMayNotBeRead(t *testing.T) {
	o := options{namespace: "fenceline/", kind: "lock"}
	err := o.explain(nil, rpctypes.ErrPermissionDenied)
	want := `etcd denies access to keys "fenceline/lock/"* or "fenceline/session/"*: the user's role needs read on what has that prefix`
	if !strings.HasPrefix(err.Error(), want) {
		t.Error(err)
	}
}
