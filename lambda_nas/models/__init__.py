"""timm networks: where their residual branches are, and how branches are removed."""
