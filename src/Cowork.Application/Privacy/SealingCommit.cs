using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Seals the texts of data subjects in one commit.</summary>
/// <param name="ofCommit">Whose texts the streams have that are nobody's own, such as an artifact's.</param>
/// <param name="subjects">The subjects whose texts it has; true: the key is there.</param>
sealed class SealingCommit(SubjectKeyring keys, string org, string ofCommit, Dictionary<string, bool> subjects)
{
    readonly HashSet<SubjectStream> streams = [];
    readonly HashSet<SealedBlob> blobs = [];
    readonly HashSet<string> openBlobs = [];

    public IReadOnlyList<SubjectStream> Streams => [.. streams];

    public IReadOnlyList<SealedBlob> Blobs => [.. blobs];

    /// <summary>Blobs that sealed texts name and that the blob store has as they are.</summary>
    public IReadOnlyCollection<string> OpenBlobs => openBlobs;

    public static bool HasPersonal(Event e) => PersonalShape.Of(e.GetType()) is { } shape && EventSeal.HasPersonal(EventJson.Write(e), shape);

    /// <summary>The event's data as the log is to have it; null: it has nothing personal.</summary>
    /// <param name="subject">Of the stream; null: the commit's.</param>
    public (byte[] Data, bool IsErased)? Seal(byte[] data, string type, EventPlace place, string? subject)
    {
        subject ??= ofCommit;
        if (PersonalShape.Of(EventTypes.ByName[type].Shape) is not { } shape || !EventSeal.HasPersonal(data, shape))
        {
            return null;
        }
        if (!subjects[subject] || keys.Find(org, subject)?.ContentKey(place.Stream) is not { } key)
        {
            return (EventSeal.Redact(data, shape), true);
        }
        streams.Add(new(subject, place.Stream));
        return (EventSeal.Seal(data, shape, place, subject, key, BlobOf), false);

        string? BlobOf(string digest)
        {
            if (keys.BlobOf(org, subject, digest) is not { } stored)
            {
                openBlobs.Add(digest);
                return null;
            }
            blobs.Add(new(subject, digest, stored));
            return stored;
        }
    }
}
