"""A recogniser with small random weights, in the format of the real one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save

from mmstream.nets.recogniser import AudioVisualRecogniser, NetConfig
from mmstream.nets.weights import packed

CONFIG = NetConfig(dim=32, layers=3, heads=2, kernel=5, expansion=2, chunk=4, left=3, visual_channels=(8, 8, 8))


def tiny_net(config: NetConfig = CONFIG, seed: int = 0) -> AudioVisualRecogniser:
    torch.manual_seed(seed)
    net = AudioVisualRecogniser(config)
    for name, buffer in net.named_buffers():  # batch normalisation as after training, not the identity
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return net.eval()


def write_tiny(folder: Path, net: AudioVisualRecogniser | None = None) -> Path:
    net = net or tiny_net()
    folder.mkdir(parents=True, exist_ok=True)
    content = save(packed(net.state_dict(), "float32"))
    (folder / "weights.safetensors").write_bytes(content)
    description = {"format": 1, "net": net.config.as_dict(), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "model.json").write_text(json.dumps(description))
    return folder
