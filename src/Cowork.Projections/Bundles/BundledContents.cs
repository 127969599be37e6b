using System.Text.Json;

using Cowork.Application;

using static Cowork.Projections.TraceJson;

namespace Cowork.Projections;

/// <summary>
/// Texts of data subjects in bundles. An event has its data as the log has them, which its hash covers, and <c>content_key</c>, the key of its stream's contents, as long as the
/// subject's own key is there. Without it the texts are erased: the event is proved, and nobody reads it.
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

    sealed class OneKey(byte[]? key) : IContentKeys
    {
        public byte[]? Of(string org, string subject, string stream) => key;
    }
}
