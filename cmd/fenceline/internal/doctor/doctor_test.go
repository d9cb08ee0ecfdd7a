package doctor

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/session"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func healthy() Facts {
	return Facts{
		Members: []Member{
			{Endpoint: "a", Version: "3.7.3", Leader: true, HasOne: true, Applied: 10000, Size: 1 << 20, Quota: 1 << 31},
			{Endpoint: "b", Version: "3.7.3", HasOne: true, Applied: 9990, Size: 1 << 20, Quota: 1 << 31},
		},
		Revision: 5000, Compacted: 100, Slowest: 3 * time.Millisecond, Now: now,
		Snapshot: &inspect.Snapshot{
			Lines: []*inspect.Line{{Kind: inspect.Lock, Name: "x", Entries: []inspect.Entry{
				{Position: 1, State: inspect.Holds, Holds: now.Add(-time.Minute), Lease: "1a", Key: "fenceline/lock/x/1a"},
				{Position: 2, State: inspect.Waits, Waits: now.Add(-30 * time.Second), Lease: "2b", Key: "fenceline/lock/x/2b"}}}},
			Sessions: []*inspect.Session{{Lease: "1a", Record: session.Record{Name: "n", Started: now.Add(-time.Hour)}}},
		},
		Left: map[string]time.Duration{"1a": 10 * time.Second},
	}
}

func TestExamineNamesWhatIsWrongAndNothingElse(t *testing.T) {
	first := func(f *Facts) *inspect.Entry { return &f.Snapshot.Lines[0].Entries[0] }
	for _, test := range []struct {
		name   string
		breaks func(*Facts)
		want   string // begins what is found; empty: nothing is
		fails  bool
	}{
		{"nothing", func(*Facts) {}, "", false},
		{"a member is down", func(f *Facts) { f.Members[1] = Member{Endpoint: "b", Err: errors.New("refused")} }, "b does not answer: refused", true},
		{"no leader", func(f *Facts) { f.Members[1].HasOne = false }, "b knows of no leader", true},
		{"a member is behind", func(f *Facts) { f.Members[1].Applied = 10 }, "b is 9990 entries behind", false},
		{"the quota", func(f *Facts) { f.Members[0].Size = 1 << 31 }, "a has used 100 % of its quota", false},
		{"a member complains", func(f *Facts) { f.Members[0].Errors = []string{"corrupt"} }, "a reports: corrupt", true},
		{"two versions", func(f *Facts) { f.Members[0].Version = "3.7.2" }, "members run different versions", false},
		{"an alarm", func(f *Facts) { f.Alarms = []string{"NOSPACE at member 1"} }, "alarm: NOSPACE", true},
		{"history", func(f *Facts) { f.Revision = 2_000_000 }, "etcd keeps a history of 1999900 revisions", false},
		{"a slow quorum", func(f *Facts) { f.Slowest = time.Second }, "a read of the quorum took 1s", false},
		{"no quorum", func(f *Facts) { f.NoQuorum = errors.New("too slow") }, "the quorum does not answer: too slow", true},
		{"no permission", func(f *Facts) { f.Snapshot, f.Denied = nil, errors.New("no") }, "what stands there cannot be read: no", true},
		{"an entry without a lease", func(f *Facts) { first(f).Lease = "" }, `lock "x": its first entry has no lease`, true},
		{"an entry whose lease is gone", func(f *Facts) { f.Left["1a"] = -1 }, `lock "x": the lease of its first entry is gone`, false},
		{"a long hold", func(f *Facts) { first(f).Holds = now.Add(-time.Hour) }, `lock "x": unknown, lease 1a has held it for 1h0m0s, and 1 wait`, false},
		{"a long hold that keeps nobody waiting", func(f *Facts) {
			first(f).Holds = now.Add(-time.Hour)
			f.Snapshot.Lines[0].Entries = f.Snapshot.Lines[0].Entries[:1]
		}, "", false},
		{"nobody holds", func(f *Facts) { first(f).State = inspect.Waits }, `lock "x": everybody waits`, false},
		{"strange keys", func(f *Facts) { f.Snapshot.Lines[0].Kind, first(f).Key = inspect.Strange, "fenceline/y" }, "2 keys in the namespace are in no line, fenceline/y among them", false},
		{"a clock that is ahead", func(f *Facts) { f.Snapshot.Sessions[0].Started = now.Add(time.Minute) }, "the clock of n pid 0 is ahead of the one here by 1m0s", false},
		{"a session without the witness that others there have", func(f *Facts) {
			f.Snapshot.Sessions[0].Host = "a"
			for lease, host := range map[string]string{"3c": "a", "4d": "b"} {
				f.Snapshot.Sessions = append(f.Snapshot.Sessions, &inspect.Session{Lease: lease, Record: session.Record{Host: host, Started: now, Witness: "x"}})
			}
		}, "1 sessions on host a have no witness", false},
		{"a closed gate", func(f *Facts) { f.Snapshot.Lines[0].Kind, first(f).Lease = inspect.Gate, "" }, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := healthy()
			test.breaks(&f)
			all := Examine(f)
			switch {
			case test.want == "" && len(all) > 0, test.want != "" && len(all) != 1:
				t.Errorf("%+v", all)
			case test.want != "" && (!strings.HasPrefix(all[0].What, test.want) || all[0].Fails != test.fails || all[0].Do == ""):
				t.Errorf("%+v, want %s", all[0], test.want)
			}
		})
	}
}

func TestTheWorstIsSaidFirst(t *testing.T) {
	f := healthy()
	f.Slowest, f.Alarms = time.Second, []string{"NOSPACE"}
	if all := Examine(f); len(all) != 2 || !all[0].Fails || all[1].Fails {
		t.Errorf("%+v", all)
	}
}

func TestFaultsOfVersions(t *testing.T) {
	for version, want := range map[string]int{"3.7.3": 0, "3.8.0": 0, "4.0.0": 0, "3.6.11": 0, "3.6.10": 1, "3.6.8": 2, "3.6.0": 3, "3.5.30": 0, "3.5.29": 1, "3.5.12": 4,
		"3.5.13": 3, "3.4.42": 3, "3.4.30": 4, "3.3.9": 4, "": 0, "3.6": 0, "3.7.0-alpha.0": 0} {
		if got := faultsOf(version); len(got) != want {
			t.Errorf("%s: %d faults, want %d: %q", version, len(got), want, got)
		}
	}
	if !slices.ContainsFunc(faultsOf("3.5.12"), func(text string) bool { return strings.Contains(text, "15247") }) {
		t.Error("3.5.12 ends leases early")
	}
}
