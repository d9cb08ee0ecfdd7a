package line

import (
	"slices"
	"strings"
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
		"held, and may be joined":             {situation{place: first, held: true, waiting: 1, used: true, joins: true}, grant},
		"held, with another value":            {situation{place: first, held: true, rewrite: true, waiting: 1}, rewriting},
		"released too soon":                   {situation{place: first, resting: true, waiting: 1, used: true}, park},
		"released too soon, on the way out":   {situation{place: first, resting: true, leaving: true}, park},
		"first, after somebody who went":      {situation{place: first, waiting: 1, suspect: true}, inquire},
		"first, after somebody who died":      {situation{place: first, waiting: 1, early: true}, rest},
		"first, late enough":                  {situation{place: first, waiting: 1}, grant},
		"not wanted, whoever died":            {situation{place: first, early: true}, drop},
		"lent, and gone":                      {situation{lent: true, waiting: 1}, rest},
		"lent, not wanted":                    {situation{lent: true, place: queued}, rest},
		"lent, released":                      {situation{lent: true, place: first, used: true}, rest},
		"lent, in line":                       {situation{lent: true, place: queued, waiting: 1}, wait},
		"lent, first":                         {situation{lent: true, place: first, waiting: 1}, grant},
		"lost while held: the next one waits": {situation{place: absent, held: true, waiting: 1}, enqueue},
	} {
		if got := next(c.s); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func at(key string, create int64) Entry {
	return Entry{Key: key, Create: create, Mod: create, Lease: 7}
}

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
		"own entry overwritten":              {15, []Entry{{Key: "m", Create: 10, Mod: 14, Lease: 5}}, gone},
		"nobody ahead at the very revision":  {10, []Entry{mine}, granted},
		"created in the same transaction":    {10, []Entry{mine, at("n", 10)}, granted},
		"older than the entry, looking free": {8, []Entry{}, undecided},
	} {
		if got, _ := Nobody.judge(c.rev, c.line, mine); got != c.want {
			t.Errorf("%s: verdict %d, want %d", name, got, c.want)
		}
	}
}

// rw makes a line of readers and writers, and somebody who does not say, in order.
func rw(text string) []Entry {
	var line []Entry
	for i, r := range text {
		e := at(string(rune('a'+i)), int64(i+1))
		e.Value = []byte(map[rune]string{'r': ReadValue, 'w': WriteValue}[r])
		line = append(line, e)
	}
	return line
}

func TestReadersWaitForTheNearestWriterAndWritersForTheNearest(t *testing.T) {
	for text, c := range map[string]struct{ reader, writer, in int }{
		"":      {-1, -1, 0},
		"r":     {-1, 0, 1},
		"rrr":   {-1, 2, 3},
		"w":     {0, 0, 1},
		"wrr":   {0, 2, 1},
		"rrwr":  {2, 3, 2},
		"wrwrr": {2, 4, 1},
		"?r":    {0, 1, 1},
		"r?":    {1, 1, 1},
	} {
		line := rw(text)
		if got := Reader.Blocker(line); got != c.reader {
			t.Errorf("%q: a reader waits for %d, want %d", text, got, c.reader)
		}
		if got := Writer.Blocker(line); got != c.writer {
			t.Errorf("%q: a writer waits for %d, want %d", text, got, c.writer)
		}
		if got := Reader.In(line); got != c.in {
			t.Errorf("%q: %d are in, want %d", text, got, c.in)
		}
	}
}

// What a rule allows, it allows with fewer ahead: that is what a grant rests on.
func TestRulesAreMonotone(t *testing.T) {
	for n := range 1 << 10 { // lines of five, of r, w and ?, written in two bits each
		var text string
		for i := range 5 {
			text += string("rw?r"[n>>(2*i)&3])
		}
		line := rw(text)
		for name, rule := range map[string]Rule{"nobody": Nobody, "reader": Reader, "writer": Writer} {
			for i := range line {
				fewer := slices.Delete(slices.Clone(line), i, i+1)
				if rule.Blocker(line) < 0 && rule.Blocker(fewer) >= 0 {
					t.Errorf("%s enters behind %q, and not without its entry %d", name, text, i)
				}
			}
		}
	}
}

func TestLanesKeepTheOrderBetweenReadersAndWriters(t *testing.T) {
	l := &lanes{}
	enter := func(lane Lane) error {
		_, err := l.enter(t.Context(), lane, &Options{}, true)
		return err
	}
	steps := []struct {
		do   string
		lane Lane
		ok   bool
	}{
		{"enter", Read, true}, {"enter", Read, true},
		{"enter", Write, true}, {"enter", Write, true},
		{"enter", Read, false}, // the readers' lane is of those before the writers
		{"leave", Read, true}, {"enter", Read, false},
		{"leave", Read, true}, {"enter", Read, true},
		{"enter", Write, false}, // and so on
		{"leave", Write, true}, {"leave", Write, true}, {"enter", Write, true},
		{"leave", Read, true}, {"enter", Write, true}, {"leave", Write, true}, {"leave", Write, true},
		{"enter", Read, true}, {"enter", Write, true}, {"leave", Write, true}, {"enter", Read, true},
	}
	for i, s := range steps {
		if s.do == "leave" {
			l.leave(s.lane, false)
		} else if err := enter(s.lane); (err == nil) != s.ok {
			t.Fatalf("step %d: lane %d: %v", i, s.lane, err)
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

func TestSetOfReadsTheOtherLinesOfASet(t *testing.T) {
	value := []byte(SetValue([]string{"p/lock/a/", "p/lock/b/", "raw/"}))
	for key, want := range map[string][]string{
		"p/lock/a/12":   {"p/lock/b/", "raw/"},
		"raw/12-2":      {"p/lock/a/", "p/lock/b/"},
		"p/lock/c/12":   nil, // a copy
		"p/lock/a/b/12": nil,
	} {
		if got := SetOf(Entry{Key: key, Value: value}); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	for _, value := range []string{"", "{}", `{"set":null}`, `{"set":"p/lock/a/"}`, `{"set":[""]}`, `["p/lock/a/"]`} {
		if got := SetOf(Entry{Key: "p/lock/a/12", Value: []byte(value)}); got != nil {
			t.Errorf("%s: %q", value, got)
		}
	}
	if got := SetValue([]string{strings.Repeat("x", maxSetValue)}); got != "" {
		t.Errorf("a value of %d bytes", len(got))
	}
}
