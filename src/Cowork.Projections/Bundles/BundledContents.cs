using System.Text.Json;

using Cowork.Application;
using Cowork.Domain;

using static Cowork.Projections.TraceJson;

namespace Cowork.Projections;

/// <summary>
/// Texts of data subjects in bundles. An event has its data as the log has them, which its hash covers, and <c>content_key</c>, the key of its stream's contents, as long as the
/// subject's own key is there. Without it the texts are erased, which the event that erased the subject says: it is among the related ones, so that nobody who cannot sign passes
/// off as erased what was not.
/// </summary>
static class BundledContents
{
    public const string Member = "content_key";

    const int KeyBytes = 32;

    /// <summary>The key of an event's contents in base64; null: nothing in it is sealed, or it is erased.</summary>
    public static string? KeyOf(string org, string stream, ReadOnlySpan<byte> data, IContentKeys? keys) =>
        keys is not null && EventSeal.SubjectOf(data) is { } subject && keys.Of(org, subject, stream) is { } key ? Convert.ToBase64String(key) : null;

    public static void WriteKey(Utf8JsonWriter writer, string org, string stream, ReadOnlySpan<byte> data, IContentKeys? keys)
    {
        if (KeyOf(org, stream, data, keys) is { } key)
        {
            writer.WriteString(Member, key);
        }
    }

    /// <summary>An event's data with the texts of data subjects opened, or what stands for erased ones; null: nothing in it is sealed.</summary>
    public static OpenedData? Open(string at, JsonElement e, EventPlace place, string type, ReadOnlySpan<byte> data)
    {
        var key = e.TryGetProperty(Member, out _) ? Text(e, Member, at) : null;
        var isSealed = EventSeal.SubjectOf(data) is not null;
        Require(key is null || isSealed, $"{at}.{Member}", "Nothing in the event is sealed.");
        if (!isSealed)
        {
            return null;
        }
        var bytes = new byte[KeyBytes];
        Require(key is null || (Convert.TryFromBase64String(key, bytes, out var written) && written == KeyBytes), $"{at}.{Member}", "It is not base64 of 32 bytes.");
        try
        {
            return EventSeal.Open(data, type, place, new OneKey(key is null ? null : bytes));
        }
        catch (InvalidDataException fault)
        {
            throw Fault($"{at}.data", fault.Message);
        }
    }

    /// <summary>
    /// Events whose texts are erased have no key in the whole bundle, and their subject's erasure is there, behind them. It is looked at before what the events say: an erased text
    /// says nothing. Answers the erasures.
    /// </summary>
    public static IReadOnlyCollection<TraceEntry> CheckErasures(IReadOnlyCollection<TraceEntry> events)
    {
        var disclosed = events.Where(entry => entry is { Subject: not null, IsErased: false }).Select(entry => (entry.Subject, entry.Event.Stream)).ToHashSet();
        var there = new Dictionary<string, TraceEntry>(StringComparer.Ordinal);
        foreach (var entry in events.Where(entry => entry.Event.Event is DataSubjectEvent.SubjectErased))
        {
            there.TryAdd(entry.Event.Stream, entry);
        }
        var erasures = new HashSet<TraceEntry>();
        foreach (var entry in events.Where(entry => entry.IsErased))
        {
            var (at, subject) = ($"{entry.At}.{Member}", entry.Subject!);
            Require(!disclosed.Contains((subject, entry.Event.Stream)), at, "The member is missing, and another event of the stream has it: the texts were not erased.");
            var erasure = there.GetValueOrDefault(DataSubject.Aggregate.Stream(DataSubject.KeyOf(subject)))
                ?? throw Fault(at, $"The member is missing, and so is the event that erased {Quoted(subject)}: nothing says that the texts were erased.");
            Require(erasure.Event.Position > entry.Event.Position, $"{erasure.At}.gid", $"It was recorded before {entry.At}: the key was there.");
            erasures.Add(erasure);
        }
        return erasures;
    }

    sealed class OneKey(byte[]? key) : IContentKeys
    {
        public byte[]? Of(string org, string subject, string stream) => key;
    }
}

/// <summary>
/// The keys that one bundle discloses. The first answer for a stream counts for all of the bundle, so that a subject who is erased meanwhile leaves no bundle with some of a
/// stream's texts.
/// </summary>
sealed class DisclosedKeys(IContentKeys? keys) : IContentKeys
{
    readonly Dictionary<(string Subject, string Stream), byte[]?> known = [];
    readonly SortedSet<string> erased = new(StringComparer.Ordinal);

    /// <summary>Subjects of which a text could not be opened.</summary>
    public IReadOnlySet<string> Erased => erased;

    /// <param name="org">The same every time.</param>
    public byte[]? Of(string org, string subject, string stream)
    {
        if (!known.TryGetValue((subject, stream), out var key))
        {
            known[(subject, stream)] = key = keys?.Of(org, subject, stream);
            if (key is null)
            {
                erased.Add(subject);
            }
        }
        return key;
    }
}
