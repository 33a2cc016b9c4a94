// Package pki makes the authorities, certificates and kubeconfigs of a cluster, once; what is there is kept.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// validity is how long everything is valid: a test cluster does not outlive it, and one that was kept for long fails
// with a clear message rather than slowly.
const validity = 365 * 24 * time.Hour

// Folder is where the files of a cluster's keys lie: NAME.crt and NAME.key.
type Folder string

// Certificate is the path of a certificate.
func (f Folder) Certificate(name string) string { return filepath.Join(string(f), name+".crt") }

// Key is the path of a private key.
func (f Folder) Key(name string) string { return filepath.Join(string(f), name+".key") }

// Subject says whom a certificate is for, and for what.
type Subject struct {
	// Name is the file name, without its ending.
	Name string
	// User becomes the common name: the name of a user of the API server, or of a server.
	User string
	// Groups become the organisations: the groups of that user.
	Groups []string
	// Names and Addresses are what a server is reached by; a certificate without any is a client's only.
	Names     []string
	Addresses []netip.Addr
}

// EnsureAuthority makes a self-signed authority of that name if there is none.
func (f Folder) EnsureAuthority(name string) error {
	if f.has(name) {
		return nil
	}
	template, err := newTemplate(pkix.Name{CommonName: "paas test cluster " + name})
	if err != nil {
		return err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	return f.issue(name, template, nil)
}

// Ensure makes a certificate of an authority if there is none.
func (f Folder) Ensure(authority string, subject Subject) error {
	if f.has(subject.Name) {
		return nil
	}
	template, err := newTemplate(pkix.Name{CommonName: subject.User, Organization: subject.Groups})
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(subject.Names)+len(subject.Addresses) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	template.DNSNames = subject.Names
	for _, address := range subject.Addresses {
		template.IPAddresses = append(template.IPAddresses, net.IP(address.AsSlice()))
	}
	issuer, err := tls.LoadX509KeyPair(f.Certificate(authority), f.Key(authority))
	if err != nil {
		return fmt.Errorf("failed to read the authority %s: %w", authority, err)
	}
	return f.issue(subject.Name, template, &issuer)
}

// EnsureSigningKey makes a bare pair of keys, NAME.key and NAME.pub: service accounts' tokens are signed with it.
func (f Folder) EnsureSigningKey(name string) error {
	if _, err := os.Stat(f.Key(name)); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("failed to make a key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return fmt.Errorf("failed to encode the key %s: %w", name, err)
	}
	if err := writePEM(filepath.Join(string(f), name+".pub"), "PUBLIC KEY", public); err != nil {
		return err
	}
	return f.writeKey(name, key)
}

// has is whether both files are there; a run that was cut off leaves the certificate, which is written last, out.
func (f Folder) has(name string) bool {
	_, err := os.Stat(f.Certificate(name))
	return !errors.Is(err, fs.ErrNotExist)
}

// issue makes a key and a certificate over it, signed by the issuer or by itself.
func (f Folder) issue(name string, template *x509.Certificate, issuer *tls.Certificate) error {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return fmt.Errorf("failed to make the folder of keys: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("failed to make a key: %w", err)
	}
	parent, signer := template, any(key)
	if issuer != nil {
		parent, signer = issuer.Leaf, issuer.PrivateKey
	}
	encoded, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return fmt.Errorf("failed to sign the certificate %s: %w", name, err)
	}
	if err := f.writeKey(name, key); err != nil {
		return err
	}
	return writePEM(f.Certificate(name), "CERTIFICATE", encoded)
}

func (f Folder) writeKey(name string, key *ecdsa.PrivateKey) error {
	encoded, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("failed to encode the key %s: %w", name, err)
	}
	return writePEM(f.Key(name), "EC PRIVATE KEY", encoded)
}

func newTemplate(name pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("failed to make a serial number: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      name,
		// Clocks of processes on one machine agree; an hour covers one that is set back.
		NotBefore: time.Now().Add(-time.Hour),
		NotAfter:  time.Now().Add(validity),
	}, nil
}

func writePEM(path, kind string, content []byte) error {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content})
	// Renamed into place, so that a file that is there is whole.
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("failed to write %s: %w", path, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("failed to write %s: %w", path, err)
	}
	return nil
}
