package fence_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/fenceline/fenceline/fence"
)

func ok() error { return nil }

func TestOlderTokenIsRefusedAndWritesNothing(t *testing.T) {
	var g fence.Gate
	if err := g.Do("db", 7, ok); err != nil {
		t.Fatal(err)
	}
	err := g.Do("db", 6, func() error { t.Error("stale write ran"); return nil })
	var stale *fence.StaleError
	if !errors.Is(err, fence.ErrStale) || !errors.As(err, &stale) || *stale != (fence.StaleError{Name: "db", Token: 6, Highest: 7}) {
		t.Fatalf("Do with an older token: %v", err)
	}
	for _, token := range []fence.Token{7, 8} { // the same holder again, and the next one
		if err := g.Do("db", token, ok); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Do("other", 1, ok); err != nil {
		t.Fatalf("names are not apart: %v", err)
	}
}

func TestTokenCountsAlsoWhenItsWriteFails(t *testing.T) {
	var g fence.Gate
	broken := errors.New("disk full")
	if err := g.Do("db", 9, func() error { return broken }); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if err := g.Do("db", 8, ok); !errors.Is(err, fence.ErrStale) {
		t.Fatalf("older token after a failed write of a newer one: %v", err)
	}
}

func TestReadersDoNotRefuseEachOtherButWritersDo(t *testing.T) {
	var g fence.Gate
	steps := []struct {
		read  bool
		token fence.Token
		stale bool
	}{
		{false, 5, false}, // a writer
		{true, 8, false},  // two readers that entered together, in either order
		{true, 7, false},
		{false, 6, true},  // the writer before them has lost
		{true, 4, true},   // a reader before the writer
		{false, 9, false}, // the writer after them
		{true, 8, true},   // who refuses them from here on
	}
	for i, s := range steps {
		do := g.Do
		if s.read {
			do = g.Read
		}
		if err := do("x", s.token, ok); errors.Is(err, fence.ErrStale) != s.stale {
			t.Errorf("step %d %+v: %v", i, s, err)
		}
	}
}

func TestReadsRunSideBySideAndWritesAlone(t *testing.T) {
	var g fence.Gate
	inside := make(chan struct{})
	err := g.Read("x", 2, func() error {
		go func() { _ = g.Read("x", 1, func() error { close(inside); return nil }) }()
		<-inside // hangs if the second waits for the first
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { _ = g.Do("x", 3, func() error { n++; return nil }) })
	}
	wg.Wait()
	if n != 50 {
		t.Fatalf("lost writes: %d of 50", n)
	}
}

func TestTokensThatCannotBeAreRefused(t *testing.T) {
	var g fence.Gate
	for _, token := range []fence.Token{0, -1} {
		for _, do := range []func(string, fence.Token, func() error) error{g.Do, g.Read} {
			if err := do("x", token, ok); !errors.Is(err, fence.ErrInvalidToken) {
				t.Errorf("token %d: %v", token, err)
			}
		}
	}
	for _, text := range []string{"", "0", "-3", "+3", "03", "1.5", "x", " 7", "7,8", "99999999999999999999"} {
		if token, err := fence.Parse(text); !errors.Is(err, fence.ErrInvalidToken) {
			t.Errorf("Parse(%q) = %d, %v", text, token, err)
		}
	}
	if token, err := fence.Parse(fence.Token(42).String()); token != 42 || err != nil {
		t.Errorf("Parse of what String wrote: %d, %v", token, err)
	}
}

func ExampleGate() {
	var gate fence.Gate
	balance := 0
	deposit := func(token fence.Token, amount int) error {
		return gate.Do("account 7", token, func() error { balance += amount; return nil })
	}
	fmt.Println(deposit(101, 10)) // the first holder
	fmt.Println(deposit(102, 10)) // the next one
	fmt.Println(deposit(101, 10)) // the first, woken late
	fmt.Println(balance)
	// Output:
	// <nil>
	// <nil>
	// fence: "account 7": token 101 is older than 102, already seen
	// 20
}
