package etcdtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// WithTLS makes the server speak TLS to clients, with a certificate for 127.0.0.1 that signs itself.
func WithTLS() Option {
	return func(t testing.TB, m *Member) {
		dir := t.TempDir()
		m.caCert = filepath.Join(dir, "cert.pem")
		key := filepath.Join(dir, "key.pem")
		m.pool = writeCertificate(t, m.caCert, key)
		m.args = append(m.args, "--cert-file", m.caCert, "--key-file", key)
	}
}

// CACert is the file that clients of a server with TLS verify it by.
func (m *Member) CACert() string { return m.caCert }

// secure makes a client speak the way the member does.
func (m *Member) secure(cfg *clientv3.Config) {
	if m.pool != nil {
		cfg.TLS = &tls.Config{RootCAs: m.pool}
	}
}

func writeCertificate(t testing.TB, certFile, keyFile string) *x509.CertPool {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IsCA:         true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	must(os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	must(os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	parsed, err := x509.ParseCertificate(cert)
	must(err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return pool
}
