package etcdtest

import (
	"crypto/x509"
	"syscall"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Member is one etcd server. Its methods are for the goroutine of the test.
type Member struct {
	endpoint string
	args     []string
	process  *process // nil while it is dead

	caCert string // with TLS
	pool   *x509.CertPool
}

// Option changes what Start starts.
type Option func(testing.TB, *Member)

// WithArgs adds flags to those of fenceline dev.
func WithArgs(args ...string) Option {
	return func(_ testing.TB, m *Member) { m.args = append(m.args, args...) }
}

// Start starts a single member, ready to serve, that ends with the test. It grants leases of 1 s and longer.
func Start(t testing.TB, opts ...Option) *Member {
	t.Helper()
	m := newMember(t, opts...)
	m.spawn(t)
	m.ready(t)
	return m
}

func newMember(t testing.TB, opts ...Option) *Member {
	t.Helper()
	m := &Member{args: []string{"--no-fsync", "--data-dir", t.TempDir(), "--listen", newPort(t).String()}}
	for _, opt := range opts {
		opt(t, m)
	}
	t.Cleanup(func() {
		if t.Failed() && m.process != nil {
			t.Logf("%s said: %s", m.endpoint, m.process.talk())
		}
		m.Kill()
	})
	return m
}

func newPort(t testing.TB) *port {
	t.Helper()
	p, err := reservePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.release)
	return p
}

func (m *Member) spawn(t testing.TB) {
	t.Helper()
	p, err := spawn(true, m.args...)
	if err != nil {
		t.Fatal(err)
	}
	m.process = p
}

func (m *Member) ready(t testing.TB) {
	t.Helper()
	endpoint, err := m.process.ready()
	if err != nil {
		m.process = nil
		t.Fatal(err)
	}
	m.endpoint = endpoint
}

// Endpoint is the URL for clients. It stays the same over restarts.
func (m *Member) Endpoint() string { return m.endpoint }

// Client connects to the member. The client is silent, reconnects fast, and is closed when the test ends.
func (m *Member) Client(t testing.TB, configure ...func(*clientv3.Config)) *clientv3.Client {
	t.Helper()
	return newClient(t, []string{m.endpoint}, append([]func(*clientv3.Config){m.secure}, configure...)...)
}

// Kill ends the server at once (SIGKILL). Killing a dead one is nothing.
func (m *Member) Kill() {
	if m.process != nil {
		m.process.kill()
		m.process = nil
	}
}

// Restart starts a dead member again, with the data it had, and waits until it is ready; one that lives is
// killed first.
func (m *Member) Restart(t testing.TB) {
	t.Helper()
	m.Kill()
	m.spawn(t)
	m.ready(t)
}

// Stop stops the server (SIGSTOP): connections stay open, and nothing answers, until Continue. It returns when
// the server has stopped.
func (m *Member) Stop(t testing.TB) {
	t.Helper()
	if err := m.process.stop(); err != nil {
		t.Fatalf("etcdtest: stop %s: %v", m.endpoint, err)
	}
}

// Continue wakes a stopped server.
func (m *Member) Continue(t testing.TB) {
	t.Helper()
	if err := m.process.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatalf("etcdtest: continue %s: %v", m.endpoint, err)
	}
}
