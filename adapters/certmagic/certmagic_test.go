package certmagic_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock/adapt"
	"github.com/fenceline/fenceline/session"
)

// files is one level deeper than the locker, whose methods win.
type files struct{ *certmagic.FileStorage }

type storage struct {
	files
	*adapt.CertmagicLocker
}

var (
	_ certmagic.Storage          = storage{}
	_ certmagic.TryLocker        = storage{}
	_ certmagic.LockLeaseRenewer = storage{}
	_ certmagic.Locker           = (*adapt.CertmagicLocker)(nil)
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open is a session of its own process, as it were.
func open(t *testing.T, client *clientv3.Client) *session.Session {
	t.Helper()
	s, err := session.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// issuer signs itself whatever it is asked for, unless before fails.
type issuer struct {
	before func(context.Context) error
	issued atomic.Int64
}

func (*issuer) IssuerKey() string { return "test" }

func (i *issuer) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	if err := i.before(ctx); err != nil {
		return nil, err
	}
	i.issued.Add(1)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: csr.DNSNames, NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, csr.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return &certmagic.IssuedCertificate{Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, nil
}

func TestOneOfTwoInstancesObtainsTheCertificate(t *testing.T) {
	client, dir := etcdtest.Shared(t).Client(t), t.TempDir()
	inLine := func() int { return len(etcdtest.Keys(t, client, "fenceline/lock/issue_cert_a.example.com/")) }
	ca := &issuer{before: func(ctx context.Context) error {
		for inLine() < 2 { // until the other instance waits
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return nil
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for range 2 {
		cache := certmagic.NewCache(certmagic.CacheOptions{
			GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return &certmagic.Default, nil },
			Logger:           zap.NewNop(),
		})
		t.Cleanup(cache.Stop)
		instance := certmagic.New(cache, certmagic.Config{
			Storage: storage{files{&certmagic.FileStorage{Path: dir}}, adapt.Certmagic(open(t, client))},
			Issuers: []certmagic.Issuer{ca},
			Logger:  zap.NewNop(),
		})
		wg.Go(func() {
			// With retries, and so with a renewal of the lock before the attempt.
			if err := instance.ObtainCertAsync(ctx, "a.example.com"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := ca.issued.Load(); n != 1 {
		t.Errorf("%d certificates", n)
	}
	if n := inLine(); n != 0 {
		t.Errorf("%d entries left", n)
	}
	if _, err := os.Stat(filepath.Join(dir, "locks")); err == nil {
		t.Error("FileStorage has locked")
	}
}

func TestTryLockOfTwoInstances(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	var a, b certmagic.TryLocker = adapt.Certmagic(open(t, client)), adapt.Certmagic(open(t, client))
	for _, instance := range []certmagic.TryLocker{a, b} {
		if ok, err := instance.TryLock(t.Context(), name); !ok || err != nil {
			t.Fatalf("of a free lock: %v, %v", ok, err)
		}
		for _, other := range []certmagic.TryLocker{a, b} {
			if ok, err := other.TryLock(t.Context(), name); ok || err != nil {
				t.Errorf("of a held lock: %v, %v", ok, err)
			}
		}
		if err := instance.Unlock(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
}
