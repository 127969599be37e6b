using System.Collections.Concurrent;

using Cowork.Application;

namespace Cowork.Testing;

/// <summary>The index of texts in memory. It ranks nothing itself: what it answers is computed as for texts that are read directly.</summary>
public sealed class TextsInMemory : ITexts
{
    readonly ConcurrentDictionary<(string Org, TextKey Key), (TextEntry Entry, IReadOnlyList<string> Scopes, TextIndex? Text)> texts = [];
    int puts;

    /// <summary>How many texts were put.</summary>
    public int Puts => Volatile.Read(ref puts);

    public ValueTask<IReadOnlyList<TextEntry>> Of(string org, string owner, CancellationToken ct) =>
        new([.. texts.Where(text => text.Key.Org == org && text.Key.Key.Owner == owner).Select(text => text.Value.Entry)]);

    public ValueTask Put(string org, TextKey key, TextEntry entry, IReadOnlyList<string> scopes, TextIndex? text, CancellationToken ct)
    {
        Interlocked.Increment(ref puts);
        texts[(org, key)] = (entry, scopes, text);
        return default;
    }

    public async ValueTask Put(string org, IReadOnlyList<NewText> added, CancellationToken ct)
    {
        foreach (var (key, entry, scopes, text) in added)
        {
            await Put(org, key, entry, scopes, text, ct);
        }
    }

    public ValueTask Touch(string org, string owner, IReadOnlyList<TextEntry> entries, CancellationToken ct)
    {
        foreach (var entry in entries)
        {
            var key = (org, new TextKey(owner, entry.Name));
            texts[key] = texts[key] with { Entry = entry };
        }
        return default;
    }

    public ValueTask Remove(string org, string owner, IReadOnlyList<string>? names, CancellationToken ct)
    {
        foreach (var (key, _) in texts.Where(text => text.Key.Org == org && text.Key.Key.Owner == owner && names?.Contains(text.Key.Key.Name) != false))
        {
            texts.TryRemove(key, out _);
        }
        return default;
    }

    public ValueTask<TextMatches> Match(string org, IReadOnlyList<string> scopes, IReadOnlyList<string> terms, int max, CancellationToken ct) =>
        texts.Where(text => text.Key.Org == org && text.Value.Text is not null && text.Value.Scopes.Intersect(scopes).Any())
            .OrderBy(text => text.Key.Key.Name, StringComparer.Ordinal).ToList() is var searched
            ? new(TextSearch.Match([.. searched.Select(text => text.Value.Text!)], [.. searched.Select(text => text.Key.Key.Owner)], terms, max, ct))
            : default;

    public ValueTask<long> Sweep(CancellationToken ct) => new(0);

    /// <summary>The index in memory does not know the files: a spec says which ones lost their text.</summary>
    public List<MissingText> Lost { get; } = [];

    public ValueTask<IReadOnlyList<MissingText>> Missing(MissingText? after, int max, CancellationToken ct) =>
        new([.. Lost.Where(lost => !texts.Keys.Any(key => key.Org == lost.Org && key.Key.Owner == TextKey.OfFile(lost.File)))
            .SkipWhile(lost => after is not null && string.CompareOrdinal(lost.File.Value, after.File.Value) <= 0).Take(max)]);
}
