"""What happens now, on one page: live state told once a second, and the page that shows it. Why a request went where it went is `explaining`'s."""
