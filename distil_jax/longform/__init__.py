"""Recordings of any length -> transcripts with segments.

A way of doing that is a function of a Transcriber, its placed parameters and recordings, and yields
a Transcript for each recording that can be used, in their order: `chunked.transcribe_chunked`.
"""
