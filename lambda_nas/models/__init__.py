"""timm networks: where their residual branches are, and what removing one leaves."""
