package line

import (
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

func TestNextStep(t *testing.T) {
	for name, c := range map[string]struct {
		s    situation
		want step
	}{
		"nothing to do":                       {situation{}, rest},
		"somebody wants it":                   {situation{waiting: 1}, enqueue},
		"somebody tries":                      {situation{waiting: 1, try: true}, try},
		"no answer, still wanted":             {situation{place: asked, waiting: 1}, enqueue},
		"no answer, not wanted any more":      {situation{place: asked}, drop},
		"in line":                             {situation{place: queued, waiting: 2}, wait},
		"in line for nobody":                  {situation{place: queued}, drop},
		"first, for the one who asked":        {situation{place: first, waiting: 1}, grant},
		"first, though the turn counts":       {situation{place: first, waiting: 1, turn: true}, grant},
		"first, for nobody":                   {situation{place: first}, drop},
		"held":                                {situation{place: first, held: true, waiting: 3, used: true}, rest},
		"released, next one here":             {situation{place: first, waiting: 1, used: true}, grant},
		"released, seen":                      {situation{place: first, waiting: 1, used: true, exposed: true}, swap},
		"released, others' turn":              {situation{place: first, waiting: 1, used: true, turn: true}, swap},
		"released, nobody here":               {situation{place: first, used: true}, drop},
		"released, lingering":                 {situation{place: first, used: true, linger: true}, rest},
		"released, lingering, seen":           {situation{place: first, used: true, linger: true, exposed: true}, swap},
		"entry gone, cause unknown":           {situation{place: first, gone: true, waiting: 1}, rest},
		"on the way out, wanted again":        {situation{place: first, leaving: true, waiting: 1, used: true}, drop},
		"on the way out of the line, wanted":  {situation{place: queued, leaving: true, waiting: 1}, drop},
		"lost while held: the next one waits": {situation{place: absent, held: true, waiting: 1}, enqueue},
	} {
		if got := next(c.s); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func at(key string, create int64) Entry { return Entry{Key: key, Create: create, Mod: create} }

func TestJudge(t *testing.T) {
	mine := at("m", 10)
	for name, c := range map[string]struct {
		rev  int64
		line []Entry
		want verdict
	}{
		"list older than the entry":          {9, nil, undecided},
		"alone":                              {10, []Entry{mine}, granted},
		"others behind":                      {12, []Entry{at("b", 11), mine, at("c", 12)}, granted},
		"one ahead":                          {12, []Entry{mine, at("b", 9)}, blocked},
		"a stranger of any shape ahead":      {12, []Entry{at("x/y/z", 1), mine}, blocked},
		"own entry missing":                  {12, nil, gone},
		"own entry missing, others ahead":    {12, []Entry{at("b", 9)}, gone},
		"own entry created again":            {15, []Entry{at("m", 14)}, gone},
		"own entry overwritten":              {15, []Entry{{Key: "m", Create: 10, Mod: 14}}, gone},
		"nobody ahead at the very revision":  {10, []Entry{mine}, granted},
		"created in the same transaction":    {10, []Entry{mine, at("n", 10)}, granted},
		"older than the entry, looking free": {8, []Entry{}, undecided},
	} {
		if got, _ := Nobody.judge(c.rev, c.line, mine); got != c.want {
			t.Errorf("%s: verdict %d, want %d", name, got, c.want)
		}
	}
}

func TestJudgeShowsTheRuleWhoIsAheadInOrder(t *testing.T) {
	var seen []Entry
	rule := Rule{Blocker: func(ahead []Entry) int { seen = ahead; return -1 }}
	if got, _ := rule.judge(20, []Entry{at("c", 7), at("m", 10), at("d", 11), at("a", 3)}, at("m", 10)); got != granted {
		t.Errorf("verdict %d", got)
	}
	if len(seen) != 2 || seen[0].Key != "a" || seen[1].Key != "c" {
		t.Errorf("ahead: %v", seen)
	}
}

func put(key string, create, mod int64) *mvccpb.Event {
	return &mvccpb.Event{Type: mvccpb.Event_PUT, Kv: &mvccpb.KeyValue{Key: []byte(key), CreateRevision: create, ModRevision: mod}}
}

func del(key string, mod int64) *mvccpb.Event {
	return &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: mod}}
}

func TestViewKeepsUpAndIgnoresWhatItKnows(t *testing.T) {
	v := &view{rev: 10, entries: []Entry{at("a", 4), at("b", 9)}}
	v.apply([]*mvccpb.Event{del("a", 7), put("z", 9, 9)}) // older than the list
	v.apply([]*mvccpb.Event{del("a", 11), put("c", 11, 11)})
	v.apply([]*mvccpb.Event{put("b", 9, 12)})
	v.apply([]*mvccpb.Event{del("b", 13), put("b", 14, 14)})
	v.apply([]*mvccpb.Event{del("nobody", 15)})
	v.apply([]*mvccpb.Event{put("b", 9, 12)}) // again
	want := []Entry{at("c", 11), at("b", 14)}
	if v.rev != 15 || len(v.entries) != 2 || v.entries[0].Key != want[0].Key || !same(v.entries[1], want[1]) {
		t.Errorf("at %d: %+v", v.rev, v.entries)
	}
}
