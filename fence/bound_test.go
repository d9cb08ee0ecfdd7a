package fence_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fenceline/fenceline/fence"
)

func use(t testing.TB, g *fence.Gate, name string, token fence.Token) {
	t.Helper()
	if err := g.Do(name, token, ok); err != nil {
		t.Fatal(err)
	}
}

func refuse(t testing.TB, err error, want fence.StaleError) {
	t.Helper()
	var stale *fence.StaleError
	if !errors.As(err, &stale) || *stale != want {
		t.Fatalf("got %v, want %v", err, &want)
	}
}

func TestBoundedGateRemembersNoMoreThanItsLimit(t *testing.T) {
	g := fence.NewGate(fence.WithMaxNames(10))
	for i := range 1000 {
		use(t, g, fmt.Sprint(i), fence.Token(i+1))
		if n := g.Remembered(); n > 10 {
			t.Fatalf("%d names after %d", n, i+1)
		}
	}
}

func TestGateWithoutALimitForgetsNothing(t *testing.T) {
	for _, g := range []*fence.Gate{{}, fence.NewGate()} {
		for i := 1000; i > 0; i-- { // each would be below a floor
			use(t, g, fmt.Sprint(i), fence.Token(i))
		}
		if n := g.Remembered(); n != 1000 {
			t.Errorf("%d names", n)
		}
	}
}

func TestLeastRecentlyUsedNameIsForgotten(t *testing.T) {
	g := fence.NewGate(fence.WithMaxNames(2))
	use(t, g, "in use all along", 1)
	for token := range fence.Token(10) {
		use(t, g, token.String(), 10+token)
		use(t, g, "in use all along", 1) // refused, once it has been forgotten
	}
}

func TestForgottenNameLetsNothingStaleIn(t *testing.T) {
	g := fence.NewGate(fence.WithMaxNames(2))
	use(t, g, "a", 5)
	if err := g.Read("a", 8, ok); err != nil {
		t.Fatal(err)
	}
	use(t, g, "b", 1)
	use(t, g, "c", 1) // "a" is forgotten, and judged as it was
	refuse(t, g.Read("a", 4, ok), fence.StaleError{Name: "a", Token: 4, Highest: 5})
	if err := g.Read("a", 6, ok); err != nil {
		t.Fatalf("a reader after the last writer: %v", err)
	}
	refuse(t, g.Do("a", 7, ok), fence.StaleError{Name: "a", Token: 7, Highest: 8})
}

// The price of the bound, as WithMaxNames tells it.
func TestHolderBelowTheFloorGetsInWithANewToken(t *testing.T) {
	g := fence.NewGate(fence.WithMaxNames(1))
	use(t, g, "busy", 20)
	use(t, g, "other", 21)
	refuse(t, g.Do("new to the gate", 15, ok), fence.StaleError{Name: "new to the gate", Token: 15, Highest: 20})
	use(t, g, "new to the gate", 22)
}

func TestNameInUseIsNotForgotten(t *testing.T) {
	g := fence.NewGate(fence.WithMaxNames(1))
	waiting := make(chan error, 1)
	inside := true
	err := g.Do("a", 1, func() error {
		for i := range 100 {
			use(t, g, fmt.Sprint(i), 50)
		}
		// A forgotten "a" would be a second lock beside this one, and its floor would refuse token 1.
		go func() {
			waiting <- g.Do("a", 1, func() error {
				if inside {
					t.Error("two are inside")
				}
				return nil
			})
		}()
		for range 100 {
			use(t, g, "another", 50)
		}
		inside = false
		return nil
	})
	if err := errors.Join(err, <-waiting); err != nil {
		t.Fatal(err)
	}
	if n := g.Remembered(); n != 1 {
		t.Errorf("%d names are left", n)
	}
}

// model is a Gate that forgets nothing, in its simplest form.
type model map[string]*struct{ write, any fence.Token }

func (m model) admits(name string, token fence.Token, read bool) bool {
	if m[name] == nil {
		m[name] = &struct{ write, any fence.Token }{}
	}
	marks := m[name]
	if read {
		if token < marks.write {
			return false
		}
		marks.any = max(marks.any, token)
		return true
	}
	if token < marks.any {
		return false
	}
	marks.write, marks.any = token, token
	return true
}

func TestBoundedGateRefusesWhateverTheUnboundedRefuses(t *testing.T) {
	var admitted, stricter int
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 0))
		limit := 1 + random.IntN(6)
		bounded, unbounded, simple := fence.NewGate(fence.WithMaxNames(limit)), &fence.Gate{}, model{}
		for step := range 200 {
			name, read := string(rune('a'+random.IntN(8))), random.IntN(3) == 0
			token := fence.Token(1 + max(0, step/4+random.IntN(16)-8))
			call := func(g *fence.Gate) bool {
				do := g.Do
				if read {
					do = g.Read
				}
				return do(name, token, ok) == nil
			}
			admits, want := call(bounded), simple.admits(name, token, read)
			if call(unbounded) != want {
				t.Fatalf("seed %d step %d: the unbounded gate and the model differ", seed, step)
			}
			if admits && !want {
				t.Fatalf("seed %d step %d, limit %d: %s %d (read %v) is stale and got in", seed, step, limit, name, token, read)
			}
			if admits {
				admitted++
			} else if want {
				stricter++
			}
		}
	}
	if admitted < 10_000 || stricter < 1_000 {
		t.Errorf("looked at too little: %d admitted, %d refused for the bound's sake", admitted, stricter)
	}
}

func TestThousandNamesAtOnceEachAloneAndInOrder(t *testing.T) {
	const names, workers, rounds = 1000, 16, 4000
	g := fence.NewGate(fence.WithMaxNames(50))
	var next, admitted atomic.Int64
	last := make([]fence.Token, names) // each guarded by its name in the gate alone
	var wg sync.WaitGroup
	for worker := range uint64(workers) {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(worker, 1))
			for range rounds {
				name, token := random.IntN(names), fence.Token(max(1, next.Add(1)-random.Int64N(20)))
				err := g.Do(fmt.Sprint(name), token, func() error {
					if token < last[name] {
						t.Errorf("%d: %d after %d", name, token, last[name])
					}
					last[name] = token
					admitted.Add(1)
					return nil
				})
				if err != nil && !errors.Is(err, fence.ErrStale) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := g.Remembered(); n > 50 {
		t.Errorf("%d names are left", n)
	}
	if n := admitted.Load(); n < workers*rounds/10 {
		t.Errorf("only %d of %d got in", n, workers*rounds)
	}
}

func TestLimitBelowOneIsAnErrorOfTheFirstCall(t *testing.T) {
	for _, n := range []int{0, -3} {
		g := fence.NewGate(fence.WithMaxNames(n))
		for _, do := range []func(string, fence.Token, func() error) error{g.Do, g.Read} {
			err := do("a", 1, func() error { t.Error("got in"); return nil })
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("WithMaxNames(%d): want at least 1", n)) {
				t.Errorf("limit %d: %v", n, err)
			}
		}
	}
}

func TestNilGateLetsNobodyIn(t *testing.T) {
	var g *fence.Gate
	for _, do := range []func(string, fence.Token, func() error) error{g.Do, g.Read} {
		if err := do("a", 1, func() error { t.Error("got in"); return nil }); err == nil {
			t.Error("no error")
		}
	}
}

func TestPanicInsideLeavesTheGateUsable(t *testing.T) {
	g := fence.NewGate(fence.WithMaxNames(1))
	for _, do := range []func(string, fence.Token, func() error) error{g.Do, g.Read} {
		func() {
			defer func() {
				if recover() != "mine" {
					t.Error("the panic did not come through")
				}
			}()
			do("a", 2, func() error { panic("mine") })
		}()
	}
	refuse(t, g.Do("a", 1, ok), fence.StaleError{Name: "a", Token: 1, Highest: 2})
	use(t, g, "a", 2)
	use(t, g, "b", 3)
	if n := g.Remembered(); n != 1 {
		t.Errorf("%d names: the one that panicked still counts as in use", n)
	}
}
