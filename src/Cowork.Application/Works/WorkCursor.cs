using System.Buffers.Binary;
using System.Buffers.Text;
using System.Text;

using Cowork.Application.Storage;

namespace Cowork.Application;

/// <summary>What a list of works is of. A cursor of one list is none of another.</summary>
/// <param name="Bucket">Null: any.</param>
/// <param name="Words">In any order.</param>
public sealed record WorkList(string Org, string Owner, string? Bucket, IReadOnlyList<string> Words)
{
    internal string Name => string.Join('\n', [Org, Owner, Bucket ?? "", .. Words.Order(StringComparer.Ordinal)]);
}

/// <summary>The place of a page in a list as it was at one moment. Clients see it as opaque text, signed under the master key, which all hosts of a database have.</summary>
/// <param name="Position">The position of the log as of which all pages of the list are.</param>
/// <param name="After">The page begins after this place.</param>
/// <param name="PinnedAt">When the first page was read.</param>
public sealed record WorkCursor(long Position, ChangePlace After, DateTimeOffset PinnedAt)
{
    /// <summary>The list is of a moment that was asked for: its rows are folded from the log, which keeps them for ever.</summary>
    public bool IsAsOf { get; init; }

    const string Purpose = "cowork works cursor";

    /// <summary>Of the text's form, and of what is signed in it.</summary>
    const byte Form = 1;

    /// <summary>Of one that <see cref="IsAsOf"/>.</summary>
    const byte AsOfForm = 2;

    const int Bytes = 1 + (4 * sizeof(long));

    const int SignatureBytes = 16;

    public string Write(WorkList list, MasterKeyring keys)
    {
        Span<byte> written = stackalloc byte[Bytes + SignatureBytes];
        written[0] = IsAsOf ? AsOfForm : Form;
        BinaryPrimitives.WriteInt64BigEndian(written[1..], Position);
        BinaryPrimitives.WriteInt64BigEndian(written[9..], After.At);
        BinaryPrimitives.WriteInt64BigEndian(written[17..], After.Position);
        BinaryPrimitives.WriteInt64BigEndian(written[25..], PinnedAt.ToUnixTimeMilliseconds());
        keys.Sign(Purpose, Signed(written[..Bytes], list))[..SignatureBytes].CopyTo(written[Bytes..]);
        return Base64Url.EncodeToString(written);
    }

    /// <summary>Null: the text is no cursor of this list, or one of a moment whose rows are no longer kept.</summary>
    public static WorkCursor? Read(string text, WorkList list, MasterKeyring keys, DateTimeOffset now)
    {
        Span<byte> read = stackalloc byte[Bytes + SignatureBytes];
        if (text.Length != Base64Url.GetEncodedLength(read.Length) || !Base64Url.IsValid(text) || Base64Url.DecodeFromChars(text, read) != read.Length
            || read[0] is not (Form or AsOfForm) || !keys.IsSigned(Purpose, Signed(read[..Bytes], list), read[Bytes..]))
        {
            return null;
        }
        var cursor = new WorkCursor(
            BinaryPrimitives.ReadInt64BigEndian(read[1..]),
            new(BinaryPrimitives.ReadInt64BigEndian(read[9..]), BinaryPrimitives.ReadInt64BigEndian(read[17..])),
            DateTimeOffset.FromUnixTimeMilliseconds(BinaryPrimitives.ReadInt64BigEndian(read[25..])))
        {
            IsAsOf = read[0] == AsOfForm,
        };
        return cursor.IsAsOf || now - cursor.PinnedAt <= RowHistory.Kept ? cursor : null;
    }

    static byte[] Signed(ReadOnlySpan<byte> cursor, WorkList list) => [.. cursor, .. Encoding.UTF8.GetBytes(list.Name)];
}
