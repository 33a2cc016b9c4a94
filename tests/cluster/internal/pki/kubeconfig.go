package pki

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
)

// kubeconfigFormat is a kubeconfig with everything inside, so that the file can be copied elsewhere.
const kubeconfigFormat = `apiVersion: v1
kind: Config
clusters:
- name: %[1]s
  cluster: {server: "%[2]s", certificate-authority-data: %[3]s}
users:
- name: %[1]s
  user: {client-certificate-data: %[4]s, client-key-data: %[5]s}
contexts:
- name: %[1]s
  context: {cluster: %[1]s, user: %[1]s}
current-context: %[1]s
`

// WriteKubeconfig writes a file with which the holder of a certificate reaches an API server. The context bears the
// given name.
func (f Folder) WriteKubeconfig(path, context, server, authority, holder string) error {
	var encoded []any
	for _, file := range []string{f.Certificate(authority), f.Certificate(holder), f.Key(holder)} {
		content, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("failed to read what the kubeconfig %s holds: %w", filepath.Base(path), err)
		}
		encoded = append(encoded, base64.StdEncoding.EncodeToString(content))
	}
	text := fmt.Sprintf(kubeconfigFormat, append([]any{context, server}, encoded...)...)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("failed to write a kubeconfig: %w", err)
	}
	return nil
}
