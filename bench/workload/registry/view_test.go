package registry

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestRegistrationIsSeenFromWhenItComesUntilItGoes(t *testing.T) {
	v := newView("me")
	addr, seen := v.expect()
	v.set(map[string]bool{"other:80": true})
	if closed(seen) {
		t.Error("seen before it came")
	}
	v.set(map[string]bool{"other:80": true, addr: true})
	if !closed(seen) {
		t.Error("not seen")
	}
	gone := v.dismiss(addr)
	if closed(gone) {
		t.Error("gone before it went")
	}
	v.set(map[string]bool{})
	if !closed(gone) || v.flapped() != 0 || len(v.mine) != 0 {
		t.Errorf("gone %v, %d flaps, kept %v", closed(gone), v.flapped(), v.mine)
	}
}

func TestRegistrationThatGoesOutOfSightOrComesBackIsAFlap(t *testing.T) {
	v := newView("me")
	addr, _ := v.expect()
	v.set(map[string]bool{addr: true})
	v.set(map[string]bool{})
	if v.flapped() != 1 {
		t.Errorf("out of sight: %d flaps", v.flapped())
	}
	v.set(map[string]bool{addr: true})
	gone := v.dismiss(addr)
	v.set(map[string]bool{})
	v.set(map[string]bool{addr: true})
	if !closed(gone) || v.flapped() != 2 {
		t.Errorf("back from the dead: %d flaps", v.flapped())
	}
	// One that is out of sight when it is dismissed has nothing to wait for.
	other, _ := v.expect()
	v.set(map[string]bool{other: true})
	v.set(map[string]bool{})
	if !closed(v.dismiss(other)) {
		t.Error("waits for what has gone")
	}
}

func TestWhatNobodyKnowsIsNoFlap(t *testing.T) {
	v := newView("me")
	addr, _ := v.expect()
	v.forget(addr)
	v.set(map[string]bool{addr: true})
	v.set(map[string]bool{})
	if v.flapped() != 0 || len(v.mine) != 0 {
		t.Errorf("%d flaps, kept %v", v.flapped(), v.mine)
	}
}
