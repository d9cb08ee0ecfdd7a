//go:build unix

package child

import (
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// As the first process of a container, this one inherits what its command leaves behind, and has to bury it: else zombies pile up.

// own are the processes that somebody here waits for. What is none of them is an orphan.
type own struct {
	mu   sync.Mutex // is held from before a process is there until it is known
	pids map[int]bool
}

var commands = own{pids: map[int]bool{}}

func (o *own) fork(f func() (int, error)) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	pid, err := f()
	if err == nil {
		o.pids[pid] = true
	}
	return pid, err
}

func (o *own) buried(pid int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.pids, pid)
}

// bury waits for those orphans that have ended.
func (o *own) bury() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, pid := range zombies(os.Getpid()) {
		if !o.pids[pid] {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // how it ended is nobody's concern
		}
	}
}

// BuryOrphans has this process bury orphans until stop is called, if it is the one that inherits them.
func BuryOrphans() (stop func()) {
	if os.Getpid() != 1 {
		return func() {}
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-ended:
			case <-time.After(time.Second): // one signal may stand for several
			case <-done:
				return
			}
			commands.bury()
		}
	}()
	return func() {
		signal.Stop(ended)
		close(done)
	}
}
