package lock

import (
	"testing"

	"github.com/fenceline/fenceline/internal/line"
)

func TestTurnsKeepTheOrderBetweenReadersAndWriters(t *testing.T) {
	l := &turns{}
	enter := func(lane side) error {
		_, err := l.enter(t.Context(), lane, &line.Options{}, true)
		return err
	}
	steps := []struct {
		do   string
		lane side
		ok   bool
	}{
		{"enter", reading, true}, {"enter", reading, true},
		{"enter", writing, true}, {"enter", writing, true},
		{"enter", reading, false}, // the readers' lane is of those before the writers
		{"leave", reading, true}, {"enter", reading, false},
		{"leave", reading, true}, {"enter", reading, true},
		{"enter", writing, false}, // and so on
		{"leave", writing, true}, {"leave", writing, true}, {"enter", writing, true},
		{"leave", reading, true}, {"enter", writing, true}, {"leave", writing, true}, {"leave", writing, true},
		{"enter", reading, true}, {"enter", writing, true}, {"leave", writing, true}, {"enter", reading, true},
	}
	for i, s := range steps {
		if s.do == "leave" {
			l.leave(s.lane, false)
		} else if err := enter(s.lane); (err == nil) != s.ok {
			t.Fatalf("step %d: lane %d: %v", i, s.lane, err)
		}
	}
}
