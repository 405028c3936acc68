"""Whether RDKit is here, which this family cannot do without and no other part needs."""

from __future__ import annotations

from gfn_vi.core.errors import ConfigError


def require_rdkit() -> None:
    """Raise ConfigError where RDKit cannot be imported: it is not installed, or a library that it needs is not."""
    try:
        import rdkit.Chem  # noqa: F401
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name in ("rdkit", "rdkit.Chem")
        why = "RDKit is not installed" if missing else f"RDKit is installed and cannot be imported ({error})"
        raise ConfigError("target", "molecules", f"{why}: pip install 'gfn_vi[molecules]'") from error
