using System.Collections;
using System.Collections.Immutable;

namespace Cowork.Application;

/// <summary>
/// The folders that a session may use. The first is what relative paths count from; absolute paths lie in any of them. Of several that hold a file, the deepest decides
/// what may be done with it.
/// </summary>
public sealed class Grants : IReadOnlyList<Grant>
{
    readonly ImmutableArray<Grant> all;

    Grants(ImmutableArray<Grant> all, bool isImplicit) => (this.all, IsImplicit) = (all, isImplicit);

    /// <summary>The one implicit grant of a session whose creation names none.</summary>
    public static Grants Of(Grant only) => new([only], isImplicit: true);

    /// <exception cref="ArgumentException">There is none.</exception>
    public static Grants Of(IEnumerable<Grant> all) =>
        all.ToImmutableArray() is { IsEmpty: false } some ? new(some, isImplicit: false) : throw new ArgumentException("A session has a folder.", nameof(all));

    public Grant First => all[0];

    /// <summary>The session's creation names no grants: the session has its folder, whole.</summary>
    public bool IsImplicit { get; }

    public int Count => all.Length;

    public Grant this[int index] => all[index];

    /// <summary>
    /// The one name of a place, for people, models and events: relative to the first grant's folder where it lies in that, else absolute.
    /// <see cref="GrantedPath.Open(Grants, string)"/> takes it.
    /// </summary>
    /// <param name="relative">Relative to the grant; <c>.</c>: its folder.</param>
    public string NameOf(Grant grant, string relative)
    {
        if (ReferenceEquals(grant, First))
        {
            return relative;
        }
        var full = relative == "." ? grant.Path : $"{grant.Path.TrimEnd('/')}/{relative}";
        return GrantedPath.RelativeTo(First.Path, full) ?? full;
    }

    public IEnumerator<Grant> GetEnumerator() => ((IEnumerable<Grant>)all).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
