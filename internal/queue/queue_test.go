package queue

import (
	"slices"
	"strings"
	"testing"
)

func at(key string, create int64) Entry {
	return Entry{Key: key, Create: create, Mod: create, Lease: 7}
}

func TestJudge(t *testing.T) {
	mine := at("m", 10)
	for name, c := range map[string]struct {
		rev  int64
		line []Entry
		want Verdict
	}{
		"list older than the entry":          {9, nil, Undecided},
		"alone":                              {10, []Entry{mine}, Granted},
		"others behind":                      {12, []Entry{at("b", 11), mine, at("c", 12)}, Granted},
		"one ahead":                          {12, []Entry{mine, at("b", 9)}, Blocked},
		"a stranger of any shape ahead":      {12, []Entry{at("x/y/z", 1), mine}, Blocked},
		"own entry missing":                  {12, nil, Gone},
		"own entry missing, others ahead":    {12, []Entry{at("b", 9)}, Gone},
		"own entry created again":            {15, []Entry{at("m", 14)}, Gone},
		"own entry overwritten":              {15, []Entry{{Key: "m", Create: 10, Mod: 14, Lease: 5}}, Gone},
		"nobody ahead at the very revision":  {10, []Entry{mine}, Granted},
		"created in the same transaction":    {10, []Entry{mine, at("n", 10)}, Granted},
		"older than the entry, looking free": {8, []Entry{}, Undecided},
	} {
		if got, _ := Mutex.Judge(c.rev, c.line, mine); got != c.want {
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
		if got := Reader.Entered(line); got != c.in {
			t.Errorf("%q: %d are in, want %d", text, got, c.in)
		}
	}
}

// What a policy allows, it allows with fewer ahead: that is what a grant rests on.
func TestPoliciesAreMonotone(t *testing.T) {
	for n := range 1 << 10 { // lines of five, of r, w and ?, written in two bits each
		var text string
		for i := range 5 {
			text += string("rw?r"[n>>(2*i)&3])
		}
		line := rw(text)
		for name, policy := range map[string]Policy{"mutex": Mutex, "reader": Reader, "writer": Writer} {
			for i := range line {
				fewer := slices.Delete(slices.Clone(line), i, i+1)
				if policy.Blocker(line) < 0 && policy.Blocker(fewer) >= 0 {
					t.Errorf("%s enters behind %q, and not without its entry %d", name, text, i)
				}
			}
		}
	}
}

func TestJudgeShowsThePolicyWhoIsAheadInOrder(t *testing.T) {
	var seen []Entry
	policy := Policy{Blocker: func(ahead []Entry) int { seen = ahead; return -1 }}
	if got, _ := policy.Judge(20, []Entry{at("c", 7), at("m", 10), at("d", 11), at("a", 3)}, at("m", 10)); got != Granted {
		t.Errorf("verdict %v", got)
	}
	if len(seen) != 2 || seen[0].Key != "a" || seen[1].Key != "c" {
		t.Errorf("ahead: %v", seen)
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
