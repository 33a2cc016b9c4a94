package pki

import (
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func read(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func TestAServersCertificateIsGoodForItsAddressesUnderItsAuthorityOnly(t *testing.T) {
	folder := Folder(t.TempDir())
	for _, authority := range []string{"ca", "other"} {
		if err := folder.EnsureAuthority(authority); err != nil {
			t.Fatal(err)
		}
	}
	subject := Subject{Name: "api", User: "kube-apiserver", Names: []string{"kubernetes"},
		Addresses: []netip.Addr{netip.MustParseAddr("10.89.0.11")}}
	if err := folder.Ensure("ca", subject); err != nil {
		t.Fatal(err)
	}
	certificate := read(t, folder.Certificate("api"))
	verify := func(authority, name string) error {
		roots := x509.NewCertPool()
		roots.AddCert(read(t, folder.Certificate(authority)))
		_, err := certificate.Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
		return err
	}
	for _, name := range []string{"kubernetes", "10.89.0.11"} {
		if err := verify("ca", name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if verify("ca", "elsewhere") == nil || verify("other", "kubernetes") == nil {
		t.Error("a foreign name or authority is accepted")
	}
}

func TestAClientsCertificateNamesUserAndGroupsAndServesNothing(t *testing.T) {
	folder := Folder(t.TempDir())
	if err := folder.EnsureAuthority("ca"); err != nil {
		t.Fatal(err)
	}
	if err := folder.Ensure("ca", Subject{Name: "node", User: "system:node:a-1", Groups: []string{"system:nodes"}}); err != nil {
		t.Fatal(err)
	}
	certificate := read(t, folder.Certificate("node"))
	if certificate.Subject.CommonName != "system:node:a-1" || certificate.Subject.Organization[0] != "system:nodes" {
		t.Errorf("got %v", certificate.Subject)
	}
	if len(certificate.ExtKeyUsage) != 1 || certificate.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		t.Errorf("got %v", certificate.ExtKeyUsage)
	}
}

func TestWhatIsThereIsKept(t *testing.T) {
	folder := Folder(t.TempDir())
	for range 2 {
		if err := folder.EnsureAuthority("ca"); err != nil {
			t.Fatal(err)
		}
		if err := folder.EnsureSigningKey("accounts"); err != nil {
			t.Fatal(err)
		}
	}
	first := read(t, folder.Certificate("ca"))
	if err := folder.EnsureAuthority("ca"); err != nil {
		t.Fatal(err)
	}
	if !first.Equal(read(t, folder.Certificate("ca"))) {
		t.Error("the authority was made anew")
	}
}

func TestAKubeconfigNeedsNoOtherFile(t *testing.T) {
	folder := Folder(t.TempDir())
	if err := folder.EnsureAuthority("ca"); err != nil {
		t.Fatal(err)
	}
	if err := folder.Ensure("ca", Subject{Name: "admin", User: "admin"}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := folder.WriteKubeconfig(path, "paas-a", "https://10.89.0.11:6443", "ca", "admin"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), string(folder)) || !strings.Contains(string(text), "current-context: paas-a") {
		t.Errorf("got %s", text)
	}
}
