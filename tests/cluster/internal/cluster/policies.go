package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// The reason why policies are not enforced is kept, because the next run of the tool cannot see it elsewhere.

func (r *rise) rememberPolicies(failure error) error {
	path := r.cluster.Path("policies-not-enforced")
	if failure == nil {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("failed to remove %s: %w", path, err)
		}
		return nil
	}
	if err := os.WriteFile(path, []byte(failure.Error()), 0o644); err != nil {
		return fmt.Errorf("failed to write %s: %w", path, err)
	}
	return nil
}
