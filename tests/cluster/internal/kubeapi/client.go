// Package kubeapi speaks to an API server with as little as bringing a cluster up needs: look at an object, apply one.
package kubeapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"paas/tests/cluster/internal/pki"
)

// Client reaches one API server as one user.
type Client struct {
	server string
	http   *http.Client
}

// New makes a client that trusts an authority and shows a certificate.
func New(server string, keys pki.Folder, authority, holder string) (*Client, error) {
	text, err := os.ReadFile(keys.Certificate(authority))
	if err != nil {
		return nil, fmt.Errorf("failed to read the cluster's authority: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	own, err := tls.LoadX509KeyPair(keys.Certificate(holder), keys.Key(holder))
	if err != nil {
		return nil, fmt.Errorf("failed to read the certificate of %s: %w", holder, err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}}, MaxIdleConnsPerHost: 8}
	return &Client{server: server, http: &http.Client{Transport: transport, Timeout: 30 * time.Second}}, nil
}

// Refusal is an answer other than success.
type Refusal struct {
	Code    int
	Message string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("the API server answered %d: %s", r.Code, r.Message)
}

// IsNotFound is whether the error says that there is no such object, or no such kind yet.
func IsNotFound(err error) bool {
	var refusal *Refusal
	return errors.As(err, &refusal) && refusal.Code == http.StatusNotFound
}

// Get reads what is at a path, as it comes.
func (c *Client) Get(ctx context.Context, path string) ([]byte, error) {
	return c.do(ctx, http.MethodGet, path, "", nil)
}

// Read reads the object at a path into a value.
func (c *Client) Read(ctx context.Context, path string, into any) error {
	text, err := c.Get(ctx, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("failed to read the answer for %s: %w", path, err)
	}
	return nil
}

// Merge changes some fields of the object at a path.
func (c *Client) Merge(ctx context.Context, path string, change any) error {
	return c.patch(ctx, path, "application/merge-patch+json", change)
}

func (c *Client) patch(ctx context.Context, path, mediaType string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("failed to encode what is sent to %s: %w", path, err)
	}
	_, err = c.do(ctx, http.MethodPatch, path, mediaType, text)
	return err
}

// Delete removes the object at a path; that there is none is no error.
func (c *Client) Delete(ctx context.Context, path string) error {
	_, err := c.do(ctx, http.MethodDelete, path, "", nil)
	if IsNotFound(err) {
		return nil
	}
	return err
}

func (c *Client) do(ctx context.Context, method, path, mediaType string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.server+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("failed to make a request for %s: %w", path, err)
	}
	if mediaType != "" {
		request.Header.Set("Content-Type", mediaType)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("failed to reach the API server: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, fmt.Errorf("failed to read the answer for %s: %w", path, err)
	}
	if answer.StatusCode >= http.StatusBadRequest {
		return nil, &Refusal{Code: answer.StatusCode, Message: message(text)}
	}
	return text, nil
}

// message is what a Status object says; other answers are shown as they are.
func message(text []byte) string {
	var status struct {
		Message string `json:"message"`
	}
	if err := json.Unmarshal(text, &status); err == nil && status.Message != "" {
		return status.Message
	}
	return string(bytes.TrimSpace(text))
}
