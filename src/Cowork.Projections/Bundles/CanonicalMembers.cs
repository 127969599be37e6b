using System.Buffers;
using System.Globalization;

using Cowork.Application.Storage;

namespace Cowork.Projections;

/// <summary>Writes members of JSON objects in their canonical form. The caller writes them in the order that RFC 8785 sorts them into.</summary>
static class CanonicalMembers
{
    /// <param name="name">What stands before the value: the name with its quotes and colon, and the comma or brace before it.</param>
    /// <param name="value">Null: the object does not have the member.</param>
    public static void Member(this PooledBuffer json, ReadOnlySpan<byte> name, string? value)
    {
        if (value is not null)
        {
            json.Write(name);
            CanonicalJson.WriteString(json, value);
        }
    }

    /// <inheritdoc cref="Member(PooledBuffer, ReadOnlySpan{byte}, string?)"/>
    public static void Member(this PooledBuffer json, ReadOnlySpan<byte> name, long value)
    {
        json.Write(name);
        value.TryFormat(json.GetSpan(20), out var written, provider: CultureInfo.InvariantCulture);
        json.Advance(written);
    }
}
