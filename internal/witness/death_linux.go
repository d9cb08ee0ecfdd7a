package witness

import (
	"context"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
)

// endGroups kills what runs in the groups of a dead process's children. By the pidfd of a group's first process it is that very group, whoever has
// the number by now; where the kernel cannot do that (before Linux 6.9), they are waited for.
func endGroups(groups map[int]*os.File) {
	for _, f := range groups {
		// An error: nothing is left of it, or the kernel cannot. What runs is looked for afterwards.
		_ = unix.PidfdSendSignal(int(f.Fd()), unix.SIGKILL, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP)
	}
}

// attend waits for the death of p, and settles its leases.
func (s *Server) attend(ctx context.Context, p *process) {
	defer s.settled(p)
	if !p.awaitDeath(ctx) {
		return
	}
	died, began := bootTime(), time.Now()
	s.mu.Lock()
	leases, groups := maps.Clone(p.leases), maps.Clone(p.groups)
	s.mu.Unlock()
	if len(leases) == 0 {
		return
	}
	for {
		a := after{guests: p.guests, link: p.link, since: died}
		if p.page != nil {
			a.page = p.page
		}
		if s.Orphans != nil {
			a.orphans = s.Orphans()
		}
		if !p.far {
			endGroups(groups)
			a.runs = anyRuns
		}
		v, pause := judge(a, bootTime())
		if v == revoke {
			break
		}
		longest := time.Duration(0)
		for _, ttl := range leases {
			longest = max(longest, ttl)
		}
		if v == leave || time.Since(began) > longest {
			s.Log.Info("a process is dead, and what it may have started is not known to be: its leases end by themselves", "pid", p.pid)
			return
		}
		if !etcd.Sleep(s.settling, min(pause, time.Second)) {
			return
		}
	}
	s.Log.Info("a process is dead: its leases are revoked", "pid", p.pid, "leases", len(leases))
	var all sync.WaitGroup
	for lease, ttl := range leases {
		all.Go(func() { s.revoke(lease, began.Add(ttl)) })
	}
	all.Wait()
}

func (s *Server) settled(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.processes, p)
	for lease := range p.leases {
		if s.told[lease] == p {
			delete(s.told, lease)
		}
	}
	p.stop()
	p.close()
	close(p.done)
}

// dead says whether the process is, without waiting.
func (p *process) dead() (dead bool) {
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) { dead = isDead(fd) })
	return dead
}

func isDead(pidfd uintptr) bool {
	ready := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(ready, 0)
	return err == nil && n > 0 && ready[0].Revents&(unix.POLLIN|unix.POLLHUP) != 0
}

// awaitDeath returns false if ctx ends before p is dead.
func (p *process) awaitDeath(ctx context.Context) bool {
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return false
	}
	defer context.AfterFunc(ctx, func() { _ = p.fd.SetReadDeadline(time.Unix(1, 0)) })()
	dead := false
	_ = raw.Read(func(fd uintptr) bool {
		dead = isDead(fd)
		return dead
	})
	return dead
}

// revoke tries until the lease must be over.
func (s *Server) revoke(lease clientv3.LeaseID, until time.Time) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		ctx, cancel := context.WithTimeout(s.settling, 2*time.Second)
		err := s.Cluster.Revoke(ctx, lease)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			s.Log.Warn("a lease of a dead process is not revoked, and must be over", "lease", fmt.Sprintf("%x", int64(lease)), "error", err)
			return
		}
		if !etcd.Sleep(s.settling, pause) {
			return
		}
	}
}

func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // it is there since Linux 2.6.39
	}
	return time.Duration(ts.Nano())
}
