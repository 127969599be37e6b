using System.Buffers;
using System.IO.Pipelines;
using System.Security.Cryptography;
using System.Text;

using Cowork.Application.Storage;

namespace Cowork.Projections;

/// <summary>The bundle of a run (<see cref="TraceBundle"/>), once in memory. It is sent as it lies there; its room is given back with it.</summary>
public sealed class RunBundle : IDisposable
{
    readonly SortedDictionary<string, Part> parts = new(StringComparer.Ordinal);
    readonly List<(string Sha256, long Bytes)> contents = [];

    internal RunBundle()
    {
    }

    /// <summary>Of all pieces.</summary>
    public long Length => Pieces().Sum(piece => (long)piece.Length);

    /// <summary>What the bundle names by digest: the contents of its artifacts, then its blobs, each once.</summary>
    internal IEnumerable<(string Sha256, long Bytes)> Contents => contents.DistinctBy(content => content.Sha256);

    public async Task WriteTo(PipeWriter output, CancellationToken ct)
    {
        foreach (var piece in Pieces())
        {
            await output.WriteAsync(piece, ct);
        }
    }

    /// <summary>A copy.</summary>
    public byte[] ToArray()
    {
        var all = new byte[Length];
        var offset = 0;
        foreach (var piece in Pieces())
        {
            piece.CopyTo(all.AsMemory(offset));
            offset += piece.Length;
        }
        return all;
    }

    public void Dispose()
    {
        foreach (var part in parts.Values)
        {
            part.Dispose();
        }
        parts.Clear();
    }

    /// <summary>The document, with its members in the order that RFC 8785 sorts them into.</summary>
    internal IEnumerable<ReadOnlyMemory<byte>> Pieces()
    {
        var before = "{";
        foreach (var (name, part) in parts)
        {
            yield return Encoding.ASCII.GetBytes($"{before}\"{name}\":{(part.IsList ? "[" : "")}");
            foreach (var piece in part.Json.Pieces)
            {
                yield return piece;
            }
            before = part.IsList ? "]," : ",";
        }
        yield return Encoding.ASCII.GetBytes($"{before[..^1]}}}");
    }

    /// <summary>Begins a list, which may stay empty.</summary>
    internal void List(string name) => parts.Add(name, new(isList: true));

    /// <summary>Adds an item to a list.</summary>
    /// <param name="json">In canonical form.</param>
    internal void Add(string name, ReadOnlySpan<byte> json) => parts[name].Add(json);

    /// <param name="json">In canonical form.</param>
    internal void Set(string name, ReadOnlySpan<byte> json)
    {
        var part = new Part(isList: false);
        parts.Add(name, part);
        part.Add(json);
    }

    internal void AddContent(string sha256, long bytes) => contents.Add((sha256, bytes));

    /// <summary>Adds a part with the digests of the parts so far, in a list those of its items.</summary>
    /// <returns>That part's own digest.</returns>
    internal string SetDigests(string name)
    {
        var digests = new Part(isList: false);
        using (var json = new PooledBuffer(1_024))
        {
            var before = "{";
            foreach (var (of, part) in parts)
            {
                json.Write(Encoding.ASCII.GetBytes($"{before}\"{of}\":{(part.IsList ? "[" : "")}"));
                foreach (var (i, digest) in part.Digests.Index())
                {
                    json.Write(Encoding.ASCII.GetBytes($"{(i > 0 ? "," : "")}\"{Convert.ToHexStringLower(digest)}\""));
                }
                before = part.IsList ? "]," : ",";
            }
            json.Write(Encoding.ASCII.GetBytes($"{before[..^1]}}}"));
            digests.Add(json.Written);
        }
        parts.Add(name, digests);
        return Convert.ToHexStringLower(digests.Digests[0]);
    }

    sealed class Part(bool isList) : IDisposable
    {
        public bool IsList { get; } = isList;

        public PiecedBuffer Json { get; } = new();

        public List<byte[]> Digests { get; } = [];

        public void Add(ReadOnlySpan<byte> json)
        {
            if (Digests.Count > 0)
            {
                Json.Write(","u8);
            }
            Json.Write(json);
            Digests.Add(SHA256.HashData(json));
        }

        public void Dispose() => Json.Dispose();
    }
}
